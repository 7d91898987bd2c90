// Drawing over a crop of a face: landmarks with the nine regions, and heat maps of patches.

import { REGIONS } from './regions.js'

const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]] // dark to light
const OPACITY = 0.62
const HALO = 'rgba(12, 14, 20, 0.6)'

export function loadImage(url) {
  return new Promise((resolve, reject) => {
    const image = new Image()
    image.onload = () => resolve(image)
    image.onerror = () => reject(new Error('the picture cannot be shown'))
    image.src = url
  })
}

// Draws a crop and its landmarks, `points` in [0, 1] of it or null.
export function drawLandmarks(canvas, image, points) {
  const context = canvas.getContext('2d'), side = canvas.width
  context.drawImage(image, 0, 0, side, side)
  if (!points) return
  const at = ([x, y]) => [x * side, y * side]
  context.lineJoin = context.lineCap = 'round'
  for (const [colour, width] of [[HALO, side / 90], [null, side / 190]]) {
    for (const region of REGIONS) {
      context.beginPath()
      points.slice(region.start, region.stop).forEach(point => context.lineTo(...at(point)))
      if (region.closed) context.closePath()
      context.lineWidth = Math.max(width, 1)
      context.strokeStyle = colour ?? region.colour
      context.stroke()
    }
  }
  for (const region of REGIONS) {
    for (const point of points.slice(region.start, region.stop)) {
      for (const [colour, radius] of [['#0c0e14', side / 110], [region.colour, side / 150]]) {
        context.beginPath()
        context.arc(...at(point), Math.max(radius, 1), 0, 2 * Math.PI)
        context.fillStyle = colour
        context.fill()
      }
    }
  }
}

// Draws a map, rows of numbers, over a grey crop; `low` has the darkest colour and `top` the lightest.
export function drawMap(canvas, image, map, { low, top, smooth }) {
  const context = canvas.getContext('2d', { willReadFrequently: true }), side = canvas.width
  context.drawImage(image, 0, 0, side, side)
  const picture = context.getImageData(0, 0, side, side), pixels = picture.data
  for (let y = 0, index = 0; y < side; y++) {
    for (let x = 0; x < side; x++, index += 4) {
      const value = sample(map, (y + 0.5) / side, (x + 0.5) / side, smooth)
      const grey = 0.299 * pixels[index] + 0.587 * pixels[index + 1] + 0.114 * pixels[index + 2]
      const colour = ramp(top > low ? (value - low) / (top - low) : 0)
      for (let channel = 0; channel < 3; channel++) {
        pixels[index + channel] = (1 - OPACITY) * grey + OPACITY * colour[channel]
      }
    }
  }
  context.putImageData(picture, 0, 0)
}

export function drawScale(canvas) {
  const context = canvas.getContext('2d')
  for (let x = 0; x < canvas.width; x++) {
    context.fillStyle = `rgb(${ramp(x / (canvas.width - 1)).map(Math.round).join(' ')})`
    context.fillRect(x, 0, 1, canvas.height)
  }
}

// The value of a map at a place in [0, 1], between the centres of its patches where smooth.
function sample(map, down, across, smooth) {
  const rows = map.length, columns = map[0].length
  if (!smooth) return map[Math.floor(down * rows)][Math.floor(across * columns)]
  const y = Math.min(Math.max(down * rows - 0.5, 0), rows - 1), x = Math.min(Math.max(across * columns - 0.5, 0), columns - 1)
  const top = Math.floor(y), left = Math.floor(x)
  const bottom = Math.min(top + 1, rows - 1), right = Math.min(left + 1, columns - 1)
  const upper = map[top][left] + (map[top][right] - map[top][left]) * (x - left)
  const lower = map[bottom][left] + (map[bottom][right] - map[bottom][left]) * (x - left)
  return upper + (lower - upper) * (y - top)
}

function ramp(value) {
  const at = Math.min(Math.max(value, 0), 1) * (RAMP.length - 1)
  const low = Math.min(Math.floor(at), RAMP.length - 2)
  return RAMP[low].map((start, channel) => start + (RAMP[low + 1][channel] - start) * (at - low))
}
