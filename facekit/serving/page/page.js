// The page: what was dropped, which face of it is picked, and who is told.

import { askAll, readQuestions } from './answers.js'
import { loadImage } from './drawing.js'
import { sameFace, showCrop, showMedium } from './faces.js'
import { Maps } from './maps.js'
import { listen } from './medium.js'
import { findFaces, keepKey, listModels } from './server.js'

const element = name => document.getElementById(name)
const maps = new Maps()
const state = { models: [], medium: null, found: new Map(), number: 0, frames: 8 }
let looking = new AbortController(), asking = null

async function start() {
  try {
    state.models = await listModels()
  } catch (error) {
    if (error.status !== 401) return tell(error.message, true)
    const isAgain = !element('key').hidden
    element('key').hidden = false
    element('key-error').hidden = !isAgain
    element('key-error').textContent = error.message
    return element('key-text').focus()
  }
  element('key').hidden = true
  element('models').replaceChildren(...state.models.map(model => {
    const item = document.createElement('li')
    item.textContent = model.id
    return item
  }))
  element('num-frames').value = state.models[0].facekit.num_frames
  maps.setModels(state.models)
}

function tell(text, isBad = false) {
  element('picture-status').textContent = text
  element('picture-status').className = isBad ? 'note bad' : 'note'
}

async function take(medium) {
  if (state.medium?.kind === 'video' && state.medium !== medium) URL.revokeObjectURL(state.medium.shown)
  Object.assign(state, { medium, found: new Map(), number: 0, frames: Number(element('num-frames').value) })
  maps.forget()
  maps.show(null)
  asking?.abort()
  element('answers').replaceChildren()
  element('ask-status').textContent = ''
  showMedium(medium, null)
  showCrop(medium, null, 0)
  element('picture-caption').textContent = medium.name
  await look()
}

// Finds the faces of the picture by each model's landmarker.
async function look() {
  looking.abort()
  looking = new AbortController()
  const { signal } = looking, { medium } = state
  tell('looking for faces …')
  try {
    const looks = state.models.filter(model => model.facekit.finds_faces || medium.kind === 'video')
    const replies = await Promise.all(looks.map(model => findFaces(model.id, medium, state.frames, signal)))
    looks.forEach((model, index) => state.found.set(model.id, replies[index]))
  } catch (error) {
    if (error.name !== 'AbortError') tell(error.message, true)
    return
  }
  const found = first()
  showMedium(medium, found, pick)
  tell(describe(found))
  const start = medium.kind === 'video' && found ? Math.max(found.frames.findIndex(frame => frame.face_found), 0) : 0
  await pick(start)
}

function first() {
  return state.models.map(model => state.found.get(model.id)).find(Boolean)
}

function describe(found) {
  if (!found) return 'This model looks at whole pictures; no face is looked for.'
  if (found.type === 'video') {
    const more = found.most_faces > 1 ? `; of up to ${found.most_faces} faces the largest is followed` : ''
    return `${found.frames.length} frames of the clip are shown to the model${more}.`
  }
  if (!found.faces.length) return 'No face was found. A question is answered about the whole picture, if the model was made for that.'
  return found.faces.length === 1 ? 'One face was found.' : `${found.faces.length} faces were found; pick one.`
}

async function pick(number) {
  state.number = number
  const { medium } = state, found = first()
  await showCrop(medium, found, number)
  const crop = (found?.faces ?? found?.frames ?? [])[number]
  const hasMaps = crop?.crop_landmarks
  maps.show(hasMaps ? { key: number, of: subjectOf, frame: medium.kind === 'video' ? number : 0, imageOf } : null)
}

// What a model is shown: the picked face as its own landmarker crops it, or the picture or clip as it is.
function subjectOf(model) {
  const { medium, frames } = state
  const face = faceOf(model)
  if (!face) return { medium, frames }
  return { medium: { kind: 'image', url: face.image }, landmarks: face.crop_landmarks }
}

function faceOf(model) {
  const picked = first()?.faces?.[state.number], own = state.found.get(model.id)?.faces
  return picked && own ? sameFace(picked, own) : undefined
}

function imageOf(model) {
  return loadImage((faceOf(model) ?? state.found.get(model.id).frames[state.number]).image)
}

async function askNow(event) {
  event.preventDefault()
  const questions = readQuestions(element('questions').value)
  const status = element('ask-status')
  if (!questions.length) return void (status.textContent = 'Write a question first.')
  if (!state.medium) return void (status.textContent = 'Choose a picture first.')
  if (!state.models.length) return void (status.textContent = 'There is no model to ask yet.')
  const temperature = Number(element('temperature').value)
  const options = { max_tokens: Number(element('max-tokens').value), ...(temperature > 0 ? { temperature } : {}) }
  const { signal } = (asking = new AbortController()), { medium } = state
  const subjects = new Map(state.models.map(model => [model, subjectOf(model)])) // another face may be picked meanwhile
  const about = first()?.faces?.length > 1 ? ` about face ${state.number + 1}` : ''
  element('ask-button').disabled = true
  element('stop').hidden = false
  const count = (done, failed, all) => {
    if (!signal.aborted) status.textContent = `${done} of ${all} answered${about}${failed ? `, ${failed} not` : ''}`
  }
  await askAll(questions, state.models, subjects, options, element('answers'), count, signal)
  if (signal.aborted && state.medium === medium) status.textContent = 'Stopped.'
  element('ask-button').disabled = false
  element('stop').hidden = true
}

listen(take, text => tell(text, true))
element('ask').addEventListener('submit', askNow)
element('stop').addEventListener('click', () => asking?.abort())
element('num-frames').addEventListener('change', () => {
  if (state.medium?.kind === 'video' && element('num-frames').reportValidity()) take(state.medium)
})
element('questions').addEventListener('keydown', event => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) element('ask').requestSubmit()
})
element('key').addEventListener('submit', event => {
  event.preventDefault()
  keepKey(element('key-text').value)
  start()
})
start()
