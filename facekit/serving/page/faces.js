// The picture with its faces boxed, the crop with its landmarks, and the frames of a clip.

import { drawLandmarks, loadImage } from './drawing.js'

const element = name => document.getElementById(name)

// Shows a picture or clip, and boxes for the faces of `found`; `onPick` gets the number of a face or frame.
export function showMedium(medium, found, onPick) {
  const place = element('picture')
  const shown = document.createElement(medium.kind === 'image' ? 'img' : 'video')
  shown.src = medium.shown
  if (medium.kind === 'image') shown.alt = `The picture: ${medium.name}`
  else Object.assign(shown, { controls: true, muted: true, loop: true, playsInline: true })
  if (medium.kind === 'video') shown.setAttribute('aria-label', `The clip: ${medium.name}`)
  const faces = found?.faces ?? []
  place.replaceChildren(shown, ...faces.map((face, index) => box(face, index, faces.length, found, onPick)))
  element('frames').hidden = medium.kind === 'image' || !found
  if (medium.kind === 'video' && found) showFrames(found.frames, onPick)
  element('stage').hidden = false
}

function box(face, index, count, found, onPick) {
  const button = document.createElement('button')
  button.type = 'button'
  button.className = 'box'
  button.setAttribute('aria-label', `Face ${index + 1} of ${count}`)
  const [left, top, right, bottom] = face.box
  const percent = (value, whole) => `${(100 * value) / whole}%`
  button.style.left = percent(left, found.width)
  button.style.top = percent(top, found.height)
  button.style.width = percent(right - left, found.width)
  button.style.height = percent(bottom - top, found.height)
  const label = document.createElement('span')
  label.textContent = `${index + 1}`
  button.append(label)
  button.addEventListener('click', () => onPick(index))
  return button
}

function showFrames(frames, onPick) {
  element('frames').replaceChildren(...frames.map((frame, number) => {
    const button = document.createElement('button'), canvas = document.createElement('canvas')
    button.type = 'button'
    canvas.width = canvas.height = 192
    canvas.setAttribute('aria-hidden', 'true')
    loadImage(frame.image).then(image => drawLandmarks(canvas, image, frame.crop_landmarks))
    button.append(canvas, `${frame.index + 1}${frame.face_found ? '' : ', no face'}`)
    button.setAttribute('aria-label', `Frame ${frame.index + 1} of the clip${frame.face_found ? '' : ', without a face'}`)
    button.addEventListener('click', () => onPick(number))
    return button
  }))
}

// Marks what was picked and draws its crop; resolves to the crop's picture, or null where there is none.
export async function showCrop(medium, found, number) {
  const buttons = document.querySelectorAll(medium.kind === 'image' ? '.box' : '#frames button')
  buttons.forEach((button, index) => button.setAttribute('aria-pressed', String(index === number)))
  const crop = (found?.faces ?? found?.frames ?? [])[number]
  const canvas = element('crop')
  canvas.closest('figure').hidden = !crop
  if (!crop) return null
  const image = await loadImage(crop.image)
  drawLandmarks(canvas, image, crop.crop_landmarks)
  const what = medium.kind === 'image' ? `Face ${number + 1} of ${found.faces.length}` : `Frame ${crop.index + 1} of the clip`
  const side = crop.crop[2] - crop.crop[0]
  const points = crop.crop_landmarks ? '68 landmarks in nine regions' : 'no face was found here'
  element('crop-caption').textContent = `What the model sees. ${what}: ${side}\u00a0×\u00a0${side}\u00a0pixels, ${points}.`
  canvas.setAttribute('aria-label', `${what}, cropped, with ${points}`)
  return image
}

// The face of `others` that covers most of what `face` covers; undefined where none does.
export function sameFace(face, others) {
  const cover = other => {
    const width = Math.min(face.box[2], other.box[2]) - Math.max(face.box[0], other.box[0])
    const height = Math.min(face.box[3], other.box[3]) - Math.max(face.box[1], other.box[1])
    return Math.max(width, 0) * Math.max(height, 0)
  }
  const best = others.reduce((one, other) => (one && cover(one) >= cover(other) ? one : other), undefined)
  return best && cover(best) > 0 ? best : undefined
}
