// What the regions look at: nine heat maps over the face, by head or their mean, and one region by every head.

import { drawMap, drawScale } from './drawing.js'
import { findMaps } from './server.js'

const element = name => document.getElementById(name)
const PANEL = 220

export class Maps {
  #models = []
  #subject = null // what a model is shown, and the picture that the maps are drawn over
  #found = null
  #kept = new Map()
  #stop = new AbortController()

  constructor() {
    drawScale(element('maps-scale').querySelector('canvas'))
    for (const name of ['maps-head', 'maps-region', 'maps-patches', 'maps-own']) {
      element(name).addEventListener('change', () => this.#draw())
    }
    element('maps-model').addEventListener('change', () => this.#find())
    element('maps-save').addEventListener('click', () => this.#save())
  }

  setModels(models) {
    this.#models = models.filter(model => model.facekit.region_maps)
    element('maps-model').replaceChildren(...this.#models.map(model => new Option(model.id, model.id)))
    element('maps-model-field').hidden = this.#models.length < 2
  }

  // `subject` is null without a face, or {key, of(model), frame, imageOf(model)}.
  show(subject) {
    this.#subject = subject
    element('maps').hidden = !this.#models.length || !subject
    if (!element('maps').hidden) this.#find()
  }

  forget() {
    this.#kept.clear()
  }

  get #model() {
    return this.#models.find(model => model.id === element('maps-model').value)
  }

  async #find() {
    this.#stop.abort()
    this.#stop = new AbortController()
    const model = this.#model, subject = this.#subject, key = `${model.id}\n${subject.key}`
    const { signal } = this.#stop
    element('maps-status').className = 'note'
    element('maps-status').textContent = this.#kept.has(key) ? '' : 'looking …'
    try {
      if (!this.#kept.has(key)) {
        const reply = await findMaps(model.id, subject.of(model), { frame: subject.frame }, signal)
        this.#kept.set(key, { ...reply, image: await subject.imageOf(model) })
      }
      if (signal.aborted) return
      this.#found = this.#kept.get(key)
      element('maps-status').textContent = ''
      this.#list()
      this.#draw()
    } catch (error) {
      if (error.name === 'AbortError') return
      element('maps-status').textContent = error.message
      element('maps-status').className = 'note bad'
      this.#found = null
      element('maps-panels').replaceChildren()
    }
    element('maps-scale').hidden = !this.#found
  }

  #list() {
    const { regions, values } = this.#found, head = element('maps-head'), region = element('maps-region')
    const chosen = [head.value, region.value]
    head.replaceChildren(new Option('mean', ''), ...values.map((_, index) => new Option(`${index + 1}`, index)))
    region.replaceChildren(new Option('all nine', ''), ...regions.map((each, index) => new Option(each.label, index)))
    head.value = chosen[0] < values.length ? chosen[0] : ''
    region.value = chosen[1] < regions.length ? chosen[1] : ''
  }

  #draw() {
    if (!this.#found) return
    const { regions, values, image } = this.#found
    const head = element('maps-head').value, region = element('maps-region').value
    element('maps-head').disabled = region !== ''
    const panels = region === ''
      ? regions.map((each, index) => [each.label, head === '' ? mean(values.map(maps => maps[index])) : values[head][index]])
      : [['mean', mean(values.map(maps => maps[region]))], ...values.map((maps, index) => [`head ${index + 1}`, maps[region]])]
    const smooth = !element('maps-patches').checked, isOwn = element('maps-own').checked
    const most = Math.max(...panels.flatMap(([, map]) => map.flat()))
    const scaleOf = map => (isOwn ? { low: Math.min(...map.flat()), top: Math.max(...map.flat()) } : { low: 0, top: most })
    const place = element('maps-panels')
    place.classList.toggle('many', panels.length > 12)
    place.replaceChildren(...panels.map(([title, map]) => panel(title, map, image, { ...scaleOf(map), smooth })))
    element('maps-low').textContent = isOwn ? 'the panel’s least' : '0 %'
    element('maps-top').textContent = isOwn ? 'the panel’s most' : `${percent(most)} of a patch’s attention`
  }

  async #save() {
    const model = this.#model, head = element('maps-head').value, subject = this.#subject
    const more = { frame: subject.frame, draw: true, ...(head === '' ? {} : { head: Number(head) }) }
    try {
      const { picture } = await findMaps(model.id, subject.of(model), more)
      const link = document.createElement('a')
      link.href = picture
      link.download = 'region-maps.png'
      link.click()
    } catch (error) {
      element('maps-status').textContent = error.message
      element('maps-status').className = 'note bad'
    }
  }
}

function panel(title, map, image, scale) {
  const figure = document.createElement('figure'), canvas = document.createElement('canvas')
  const caption = document.createElement('figcaption')
  canvas.width = canvas.height = PANEL
  drawMap(canvas, image, map, scale)
  const all = map.flat(), highest = Math.max(...all), at = all.indexOf(highest), columns = map[0].length
  const average = percent(all.reduce((sum, value) => sum + value, 0) / all.length)
  canvas.setAttribute('role', 'img')
  canvas.setAttribute('aria-label', `${title}: ${average} of all attention; most, ${percent(highest)}, from the patch in row `
    + `${Math.floor(at / columns) + 1} of ${map.length}, column ${(at % columns) + 1} of ${columns}`)
  caption.textContent = `${title}: ${average}`
  figure.append(canvas, caption)
  return figure
}

function mean(maps) {
  return maps[0].map((row, y) => row.map((_, x) => maps.reduce((sum, map) => sum + map[y][x], 0) / maps.length))
}

function percent(value) {
  return `${(100 * value).toFixed(value < 0.0995 ? 1 : 0)}\u00a0%`
}
