// Pictures and clips from a file, the clipboard or the camera, as data URLs that the server takes.

const LONGEST_SIDE = 3000
const MOST_BYTES = 10e6
const MOST_CLIP_BYTES = 14e6 // as base64 and with the rest below the 20 MB of a request
const AS_THEY_ARE = new Set(['image/jpeg', 'image/png', 'image/webp'])

// A file as {kind, url, name, shown}: `url` goes to the server, `shown` is what the browser shows.
export async function readFile(file) {
  if (file.type.startsWith('video/')) return readClip(file)
  if (!file.type.startsWith('image/')) throw new Error(`${file.name} is neither a picture nor a clip`)
  return readPicture(file, file.name)
}

async function readClip(file) {
  if (file.size > MOST_CLIP_BYTES) {
    throw new Error(`${file.name} has ${(file.size / 1e6).toFixed(0)} MB; give a clip of at most ${MOST_CLIP_BYTES / 1e6} MB`)
  }
  const type = file.type.split(';')[0]
  const url = await asDataUrl(new Blob([file], { type }))
  return { kind: 'video', url, name: file.name, shown: URL.createObjectURL(file) }
}

async function readPicture(blob, name) {
  let bitmap
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: 'from-image' })
  } catch {
    throw new Error(`${name} cannot be shown by this browser; save it as JPEG or PNG`)
  }
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height))
  if (scale === 1 && blob.size <= MOST_BYTES && AS_THEY_ARE.has(blob.type)) {
    bitmap.close()
    const url = await asDataUrl(blob)
    return { kind: 'image', url, name, shown: url }
  }
  const canvas = document.createElement('canvas')
  canvas.width = Math.max(1, Math.round(bitmap.width * scale))
  canvas.height = Math.max(1, Math.round(bitmap.height * scale))
  canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height)
  bitmap.close()
  const url = canvas.toDataURL('image/jpeg', 0.95)
  return { kind: 'image', url, name, shown: url }
}

function asDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader()
    reader.onload = () => resolve(reader.result)
    reader.onerror = () => reject(new Error('the file cannot be read'))
    reader.readAsDataURL(blob)
  })
}

// The buttons, the drop zone, the clipboard and the camera; `onMedium` gets what they give, `onError` a sentence.
export function listen(onMedium, onError) {
  const element = name => document.getElementById(name)
  const file = element('file'), drop = element('drop')
  const take = async one => {
    if (!one) return
    try {
      onMedium(await readFile(one))
    } catch (error) {
      onError(error.message)
    }
  }
  element('choose').addEventListener('click', () => file.click())
  file.addEventListener('change', () => take(file.files[0]).finally(() => { file.value = '' }))
  addEventListener('paste', event => take(event.clipboardData?.files[0]))
  for (const name of ['dragover', 'drop']) addEventListener(name, event => event.preventDefault())
  addEventListener('dragover', () => drop.classList.add('over'))
  addEventListener('dragleave', event => { if (!event.relatedTarget) drop.classList.remove('over') })
  addEventListener('drop', event => {
    drop.classList.remove('over')
    take(event.dataTransfer?.files[0])
  })
  listenToCamera(element, take, onError)
}

function listenToCamera(element, take, onError) {
  const dialog = element('camera-dialog'), view = element('camera-view'), open = element('camera')
  const button = element('camera-take')
  open.hidden = !navigator.mediaDevices?.getUserMedia // only on this machine's own address, or behind TLS
  open.addEventListener('click', async () => {
    try {
      view.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'user', width: { ideal: 1280 } } })
      button.disabled = true // until a frame is shown: the size is known earlier, and the picture would be black
      const source = view.srcObject
      view.requestVideoFrameCallback(() => { button.disabled = view.srcObject !== source })
      dialog.showModal()
    } catch {
      onError('the camera cannot be used; allow it for this page, or choose a file')
    }
  })
  dialog.addEventListener('close', () => {
    view.srcObject?.getTracks().forEach(track => track.stop())
    view.srcObject = null
  })
  element('camera-close').addEventListener('click', () => dialog.close())
  button.addEventListener('click', () => {
    const canvas = document.createElement('canvas')
    canvas.width = view.videoWidth
    canvas.height = view.videoHeight
    canvas.getContext('2d').drawImage(view, 0, 0)
    dialog.close()
    canvas.toBlob(blob => take(new File([blob], 'the camera’s picture', { type: blob.type })), 'image/png')
  })
}
