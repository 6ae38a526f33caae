// A picture of a file, made in this browser before the server has one.
//
// Rule: one at a time, and only what the browser can decode; a file without a picture is nothing special.

import { type Item, isHere, set } from './items'

const WIDTH = 320
const PATIENCE_MS = 8000

let last: Promise<void> = Promise.resolve()

/** Make a picture of a file, after those that wait already. */
export function addPreview(item: Item, file: File): void {
  last = last.then(async () => {
    if (!isHere(item) || item.now.peek().preview) return
    const picture = await frame(file).catch(() => null)
    if (picture && isHere(item)) set(item, { preview: URL.createObjectURL(picture) })
  })
}

async function frame(file: File): Promise<Blob | null> {
  const video = document.createElement('video')
  const source = URL.createObjectURL(file)
  try {
    video.muted = true
    video.playsInline = true
    video.preload = 'auto'
    video.src = source
    await heard(video, 'loadedmetadata')
    // The first frame is often black.
    video.currentTime = Math.min(1, (video.duration || 0) / 4)
    await heard(video, 'seeked')
    const canvas = document.createElement('canvas')
    canvas.width = WIDTH
    canvas.height = Math.round((WIDTH * video.videoHeight) / video.videoWidth)
    canvas.getContext('2d')?.drawImage(video, 0, 0, canvas.width, canvas.height)
    return await new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.8))
  } finally {
    video.removeAttribute('src')
    video.load()
    URL.revokeObjectURL(source)
  }
}

function heard(video: HTMLVideoElement, event: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(reject, PATIENCE_MS)
    video.addEventListener(
      event,
      () => {
        clearTimeout(timer)
        resolve()
      },
      { once: true },
    )
    video.addEventListener('error', () => reject(new Error('cannot be decoded')), { once: true })
  })
}
