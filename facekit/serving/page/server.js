// What the page asks the server: models, faces, region maps and answers, with the key of this tab.

const KEY = 'facekit-key'
const MOST_TRIES = 6

export class Refusal extends Error {
  constructor(status, message, seconds) {
    super(message)
    this.status = status
    this.seconds = seconds
  }
}

export function keepKey(key) {
  sessionStorage.setItem(KEY, key)
}

export async function listModels() {
  const reply = await send('v1/models', undefined)
  return (await reply.json()).data
}

export async function findFaces(model, medium, frames, signal) {
  return (await post('facekit/faces', { model, medium: part(medium), ...frameCount(medium, frames) }, signal)).json()
}

export async function findMaps(model, subject, more, signal) {
  const { medium, landmarks, frames } = subject
  const body = { model, medium: part(medium), ...(landmarks ? { landmarks } : {}), ...frameCount(medium, frames), ...more }
  return (await post('facekit/region_maps', body, signal)).json()
}

// Streams one answer; `onText` gets each piece of it.
export async function ask(model, subject, question, options, onText, signal) {
  const { medium, landmarks, frames } = subject
  const facekit = { ...(landmarks ? { landmarks: [landmarks] } : {}), ...frameCount(medium, frames) }
  const content = [part(medium), { type: 'text', text: question }]
  const body = { model, messages: [{ role: 'user', content }], stream: true, facekit, ...options }
  const reply = await post('v1/chat/completions', body, signal)
  for await (const event of events(reply)) {
    if (event.error) throw new Refusal(500, event.error.message)
    const choice = event.choices?.[0]
    if (choice?.delta.content) onText(choice.delta.content)
    if (choice?.finish_reason) return choice.finish_reason
  }
  throw new Refusal(0, 'the connection ended before the answer did')
}

function part(medium) {
  const kind = `${medium.kind}_url`
  return { type: kind, [kind]: { url: medium.url } }
}

function frameCount(medium, frames) {
  return medium.kind === 'video' && frames ? { num_frames: frames } : {}
}

// Where the server is busy, wait for as long as it says and try again.
async function post(address, body, signal) {
  for (let tries = 1; ; tries++) {
    try {
      return await send(address, JSON.stringify(body), signal)
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 429 || tries === MOST_TRIES) throw error
      await pause(error.seconds * 1000, signal)
    }
  }
}

async function send(address, body, signal) {
  const key = sessionStorage.getItem(KEY)
  const headers = { ...(key ? { Authorization: `Bearer ${key}` } : {}) }
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  let reply
  try {
    reply = await fetch(address, { method: body === undefined ? 'GET' : 'POST', headers, body, signal, cache: 'no-store' })
  } catch (error) {
    if (error.name === 'AbortError') throw error
    throw new Refusal(0, 'the server does not answer; is it still running?')
  }
  if (reply.ok) return reply
  const told = await reply.json().catch(() => null)
  const seconds = Number(reply.headers.get('Retry-After')) || 1
  throw new Refusal(reply.status, told?.error?.message ?? `the server answered with status ${reply.status}`, seconds)
}

// Server-sent events of a reply, parsed.
async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    const blocks = (rest + value).split('\n\n')
    rest = blocks.pop()
    for (const block of blocks) {
      const data = block.replace(/^data: /, '')
      if (data === '[DONE]') return
      yield JSON.parse(data)
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds)
    signal?.addEventListener('abort', () => {
      clearTimeout(timer)
      reject(new DOMException('stopped', 'AbortError'))
    })
  })
}
