// Several questions at once, to every model: answers appear side by side while they are written.

import { ask } from './server.js'

const AT_ONCE = 6 // a browser opens no more connections to one server
const MOST_QUESTIONS = 60

export function readQuestions(text) {
  return text.split('\n').map(line => line.trim()).filter(Boolean).slice(0, MOST_QUESTIONS)
}

// Asks `questions` of `models`; `subjects` has what each model is shown. Resolves when all is answered or stopped.
export async function askAll(questions, models, subjects, options, list, onCount, signal) {
  const cells = questions.map(question => models.map(() => document.createElement('p')))
  list.replaceChildren(...questions.map((question, row) => card(question, models, cells[row])))
  const work = questions.flatMap((question, row) => models.map((model, column) => ({ question, model, cell: cells[row][column] })))
  let next = 0, done = 0, failed = 0
  onCount(done, failed, work.length)
  const worker = async () => {
    while (next < work.length && !signal.aborted) {
      const item = work[next++]
      const isAnswered = await answer(item, subjects.get(item.model), options, signal)
      done++
      if (!isAnswered) failed++
      onCount(done, failed, work.length)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  for (const { cell } of work) if (cell.className === 'waiting') show(cell, 'not asked', 'waiting')
}

function card(question, models, cells) {
  const item = document.createElement('li'), title = document.createElement('h3'), columns = document.createElement('div')
  title.textContent = question
  columns.className = 'columns'
  columns.append(...models.map((model, index) => {
    const column = document.createElement('div')
    show(cells[index], 'waiting …', 'waiting')
    if (models.length > 1) {
      const name = document.createElement('p')
      show(name, model.id, 'name')
      column.append(name)
    }
    column.append(cells[index])
    return column
  }))
  item.append(title, columns)
  return item
}

async function answer({ question, model, cell }, subject, options, signal) {
  let text = ''
  const add = piece => show(cell, (text += piece), '')
  try {
    const reason = await ask(model.id, subject, question, options, add, signal)
    const words = text.trim()
    show(cell, words ? words + (reason === 'length' ? ' …' : '') : 'The answer is empty.', words ? '' : 'waiting')
    return true
  } catch (error) {
    const isStopped = error.name === 'AbortError'
    show(cell, isStopped ? `${text} (stopped)`.trim() : `${text}\n${error.message}`.trim(), isStopped ? '' : 'bad')
    return isStopped
  }
}

function show(place, text, name) {
  place.textContent = text
  place.className = name
}
