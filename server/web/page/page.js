// The upload page: sends videos by tus, follows their tasks, and shows both.
//
// Rule: the server's word counts. Where an upload stands is asked again (HEAD) after everything that went wrong, and
// a refusal is told in the server's own sentence. Every address is relative to the page, which may lie below a
// prefix. Nothing is loaded from anywhere else.

// Texts

const TEXTS = {
  en: {
    other_language: '中文',
    heading: 'Upload videos',
    accepted: 'MP4, MOV, AVI, MKV, WMV, FLV and 3GP are accepted.',
    accepted_limit: 'MP4, MOV, AVI, MKV, WMV, FLV and 3GP are accepted, up to {limit} each.',
    promise: 'If the connection breaks, the upload goes on where it stopped.',
    choose: 'Choose videos',
    or_drop: 'or drop them here',
    videos: 'Videos',
    summary: '{done} of {total} finished',
    summary_failed: '{done} of {total} finished, {failed} failed',
    clear: 'Clear finished',
    folder: 'Folders cannot be uploaded; choose the videos in them.',

    waiting: 'Waiting',
    starting: 'Connecting…',
    uploading: '{percent}%',
    speed: '{speed}/s',
    left: '{time} left',
    paused: 'Paused at {percent}%',
    lost: 'Connection lost, trying again in {time}',
    busy: '{reason}. Trying again in {time}',
    retrying_now: 'Trying again…',
    offline: 'No network; the upload goes on when it is back',
    unchosen: '{percent}% uploaded; choose the file again to continue',
    unreadable: 'The file cannot be read any more; choose it again to continue',
    queued: 'Uploaded, waiting to be processed',
    processing: 'Processing, {percent}%',
    done: 'Done',
    cancelled: 'Cancelled',
    failed: 'Failed',

    pause: 'Pause',
    resume: 'Resume',
    try_now: 'Try now',
    choose_again: 'Choose file',
    remove: 'Remove',
    remove_sure: 'Really remove?',
    cancel: 'Cancel',
    dismiss: 'Remove from list',
    about: '{action}: {name}',
    progress_of: 'Progress of {name}',
    poster_of: 'Poster of {name}, in full size',
    removed: 'removed',
    sure_question: 'Press again to remove it; what was uploaded will be lost',

    seconds: '{n}\u00a0s',
    minutes: '{n}\u00a0min',
    hours: '{n}\u00a0h {m}\u00a0min',
    fps: '{n}\u00a0fps',
    no_sound: 'no sound',
  },
  zh: {
    other_language: 'English',
    heading: '上传视频',
    accepted: '支持 MP4、MOV、AVI、MKV、WMV、FLV 和 3GP。',
    accepted_limit: '支持 MP4、MOV、AVI、MKV、WMV、FLV 和 3GP，单个文件最大 {limit}。',
    promise: '连接中断后会从中断处继续上传。',
    choose: '选择视频',
    or_drop: '或拖放到此处',
    videos: '视频',
    summary: '已完成 {done}/{total}',
    summary_failed: '已完成 {done}/{total}，失败 {failed}',
    clear: '清除已完成',
    folder: '无法上传文件夹，请选择其中的视频。',

    waiting: '等待上传',
    starting: '正在连接…',
    uploading: '{percent}%',
    speed: '{speed}/秒',
    left: '剩余 {time}',
    paused: '已暂停，{percent}%',
    lost: '连接中断，{time}后重试',
    busy: '{reason}。{time}后重试',
    retrying_now: '正在重试…',
    offline: '没有网络，恢复后自动继续上传',
    unchosen: '已上传 {percent}%，请重新选择该文件以继续',
    unreadable: '无法再读取该文件，请重新选择以继续',
    queued: '上传完成，等待处理',
    processing: '正在处理，{percent}%',
    done: '完成',
    cancelled: '已取消',
    failed: '失败',

    pause: '暂停',
    resume: '继续',
    try_now: '立即重试',
    choose_again: '选择文件',
    remove: '移除',
    remove_sure: '确定移除？',
    cancel: '取消',
    dismiss: '从列表中移除',
    about: '{action}：{name}',
    progress_of: '{name} 的进度',
    poster_of: '{name} 的封面原图',
    removed: '已移除',
    sure_question: '再按一次移除，已上传的部分将丢失',

    seconds: '{n}\u00a0秒',
    minutes: '{n}\u00a0分钟',
    hours: '{n} 小时 {m} 分钟',
    fps: '{n}\u00a0帧/秒',
    no_sound: '无声',
  },
}

let language = 'en'

function text(key, values = {}) {
  return TEXTS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '?')
}

function number(value, digits = 0) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value)
}

/** Bytes for people. MB is 1024 × 1024 here, as in the API's document: so a limit reads as it was set. */
function bytes(count) {
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  const power = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(count) / 10))
  const value = count / 1024 ** power
  return `${number(value, power > 1 && value < 100 ? 1 : 0)}\u00a0${units[power]}`
}

function timespan(seconds) {
  const whole = Math.max(1, Math.ceil(seconds))
  if (whole < 60) return text('seconds', { n: whole })
  const minutes = Math.round(whole / 60)
  if (minutes < 60) return text('minutes', { n: minutes })
  return text('hours', { n: Math.floor(minutes / 60), m: minutes % 60 })
}

/** A duration as players show it: 0:07, 1:02:03. */
function clock(seconds) {
  const whole = Math.round(seconds)
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  if (parts[0] === 0) parts.shift()
  return parts.map((part, place) => (place === 0 ? part : String(part).padStart(2, '0'))).join(':')
}

const CODECS = {
  h264: 'H.264', hevc: 'H.265', av1: 'AV1', vp8: 'VP8', vp9: 'VP9', mpeg4: 'MPEG-4', mpeg2video: 'MPEG-2',
  h263: 'H.263', flv1: 'Sorenson H.263', prores: 'ProRes', mjpeg: 'Motion JPEG', wmv1: 'WMV 7', wmv2: 'WMV 8',
  wmv3: 'WMV 9', vc1: 'VC-1', aac: 'AAC', mp3: 'MP3', opus: 'Opus', vorbis: 'Vorbis', ac3: 'AC-3',
  eac3: 'E-AC-3', flac: 'FLAC', alac: 'ALAC', amr_nb: 'AMR', amrnb: 'AMR', amr_wb: 'AMR-WB', wmav2: 'WMA',
  pcm_s16le: 'PCM',
}

function codec(name) {
  return CODECS[name] ?? name.toUpperCase()
}

// Talking to the server

const BASE = new URL('.', document.baseURI)
const CHUNK = 8 << 20
// A file that is no video is refused by its first bytes. Were they part of a long body, the refusal could get lost
// in the reset of a connection that is still being written to.
const FIRST_CHUNK = 256 << 10
const TUS = '1.0.0'
// Long, because the last bytes of a chunk leave the browser's view before they leave a slow telephone.
const SILENCE_MS = 120_000
const BACK_OFF_SECONDS = [1, 2, 4, 8, 15, 30]

class Halted extends Error {}
class ConnectionLost extends Error {}

/** An answer that is not a success. */
class Refusal extends Error {
  constructor(xhr) {
    // `code: sentence` is the server's; a page of some proxy in between is nothing to show.
    const match = /^[a-z_]+: (.+)$/s.exec((xhr.responseText ?? '').trim())
    super(match?.[1] ?? `HTTP ${xhr.status}`)
    this.hasSentence = match !== null
    this.status = xhr.status
    this.offset = wholeNumber(xhr.getResponseHeader('Upload-Offset'))
    this.retryAfter = wholeNumber(xhr.getResponseHeader('Retry-After'))
  }

  get isGone() {
    return this.status === 404 || this.status === 410
  }

  get isTemporary() {
    return [408, 409, 423, 425, 429].includes(this.status) || this.status >= 500
  }
}

function wholeNumber(value) {
  return /^\d+$/.test(value ?? '') ? Number(value) : null
}

/** One tus request. XMLHttpRequest, because fetch does not tell how much of a body has been sent. */
function send(method, path, { headers = {}, body = null, signal, onProgress } = {}) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(new Halted())
      return
    }
    const xhr = new XMLHttpRequest()
    let watchdog
    const feed = () => {
      clearTimeout(watchdog)
      watchdog = setTimeout(() => xhr.abort(), SILENCE_MS)
    }
    const halt = () => xhr.abort()
    xhr.open(method, new URL(path, BASE))
    xhr.setRequestHeader('Tus-Resumable', TUS)
    xhr.setRequestHeader('Accept-Language', language)
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value)
    xhr.upload.onprogress = (event) => {
      feed()
      onProgress?.(event.loaded)
    }
    xhr.onload = () => (xhr.status < 300 ? resolve(xhr) : reject(new Refusal(xhr)))
    xhr.onerror = () => reject(new ConnectionLost())
    xhr.onabort = () => reject(signal?.aborted ? new Halted() : new ConnectionLost())
    xhr.onloadend = () => {
      clearTimeout(watchdog)
      signal?.removeEventListener('abort', halt)
    }
    signal?.addEventListener('abort', halt)
    feed()
    xhr.send(body)
  })
}

function address(item) {
  return `files/${item.id}`
}

function metadata(name, value) {
  const utf8 = new TextEncoder().encode(value)
  return `${name} ${btoa(Array.from(utf8, (byte) => String.fromCharCode(byte)).join(''))}`
}

/** Make the upload; afterwards it has an id and no bytes. */
async function create(item, signal) {
  const pairs = [metadata('filename', item.name)]
  if (item.file.type) pairs.push(metadata('filetype', item.file.type))
  const headers = { 'Upload-Length': item.size, 'Upload-Metadata': pairs.join(',') }
  const answer = await send('POST', 'files', { headers, signal })
  // Only the id counts: the rest of Location is the address as the server knows it, perhaps from behind a proxy.
  item.id = answer.getResponseHeader('Location').split('/').pop()
  item.unsure = false
  learn(item, answer)
  await hold(item)
  remember(item)
}

/** Ask how many bytes the server has. */
async function ask(item, signal) {
  learn(item, await send('HEAD', address(item), { signal }))
  item.unsure = false
}

/** Send the next chunk. It is empty when all bytes are there and only the completion is missing. */
async function sendChunk(item, signal) {
  const start = item.offset
  const end = start + (start === 0 ? FIRST_CHUNK : CHUNK)
  const onProgress = (loaded) => progressed(item, start + loaded)
  const headers = { 'Content-Type': 'application/offset+octet-stream', 'Upload-Offset': start }
  learn(item, await send('PATCH', address(item), { headers, body: item.file.slice(start, end), signal, onProgress }))
  if (item.offset <= start && !item.complete) throw new ConnectionLost()
  remember(item)
}

function learn(item, answer) {
  item.offset = wholeNumber(answer.getResponseHeader('Upload-Offset')) ?? 0
  item.sent = item.offset
  item.complete = answer.getResponseHeader('Upload-Task') !== null
}

/** HEAD has no body, so a refusal met there has no sentence; an empty PATCH is refused in words. */
async function askWhy(item, refusal, signal) {
  const headers = { 'Content-Type': 'application/offset+octet-stream', 'Upload-Offset': 0 }
  try {
    await send('PATCH', address(item), { headers, signal })
  } catch (problem) {
    if (problem instanceof Refusal) return problem
  }
  return refusal
}

async function api(method, path) {
  const headers = { 'Accept-Language': language }
  const response = await fetch(new URL(path, BASE), { method, headers, cache: 'no-store' })
  if (response.status >= 500) throw new ConnectionLost()
  return { ok: response.ok, ...(await response.json()) }
}

async function readLimit() {
  try {
    const answer = await send('OPTIONS', 'files')
    limit = wholeNumber(answer.getResponseHeader('Tus-Max-Size'))
    renderPage()
  } catch {
    // The sentence without the limit will do.
  }
}

// Memory: which upload belongs to which file, so that a reload does not lose it

const MEMORY = `videodock:${BASE.pathname}:`
// The server forgets an unfinished upload after a week; what is finished need not be shown again for long.
const KEEP_MS = { upload: 8 * 86_400_000, task: 86_400_000 }

function fingerprint(file) {
  return `${file.name}|${file.size}|${file.lastModified}`
}

function remember(item) {
  const record = {
    id: item.id,
    name: item.name,
    size: item.size,
    offset: item.offset,
    stage: item.complete ? 'task' : 'upload',
    since: item.since,
    at: Date.now(),
  }
  try {
    localStorage.setItem(MEMORY + item.key, JSON.stringify(record))
  } catch {
    // Private windows may refuse; the upload works, only a reload would lose it.
  }
}

function forget(item) {
  try {
    // The same file may have been chosen again since, and the record be that upload's.
    if (read(MEMORY + item.key)?.id === item.id) localStorage.removeItem(MEMORY + item.key)
  } catch {
    // As above.
  }
  item.release?.()
}

function read(name) {
  try {
    return JSON.parse(localStorage.getItem(name))
  } catch {
    return null
  }
}

function records() {
  const found = []
  try {
    for (const name of Object.keys(localStorage)) {
      if (!name.startsWith(MEMORY)) continue
      const record = read(name)
      if (record && Date.now() - record.at < KEEP_MS[record.stage]) {
        found.push({ ...record, key: name.slice(MEMORY.length) })
      } else {
        localStorage.removeItem(name)
      }
    }
  } catch {
    // Nothing is remembered, then.
  }
  return found.sort((one, other) => one.since - other.since)
}

/** Hold an upload for this window; false when another window has it. Without locks (plain http), always true. */
async function hold(item) {
  if (!navigator.locks) return true
  // The window before a reload lets go a moment after this one begins.
  const patience = new AbortController()
  setTimeout(() => patience.abort(), 1000)
  const options = { signal: patience.signal }
  return new Promise((resolve) => {
    const kept = () =>
      new Promise((release) => {
        item.release = release
        resolve(true)
      })
    navigator.locks.request(`videodock:${item.id}`, options, kept).catch(() => resolve(false))
  })
}

// Uploading

const AT_ONCE = 3
const RESTARTS = 3

// The states of an item. From `watching` on there are no bytes left to send.
const WAITING = 'waiting'
const UPLOADING = 'uploading'
const RETRYING = 'retrying'
const PAUSED = 'paused'
const UNCHOSEN = 'unchosen' // its file has to be chosen (again)
const WATCHING = 'watching' // its task runs
const DONE = 'done'
const FAILED = 'failed'
const CANCELLED = 'cancelled'

const ENDED = [DONE, FAILED, CANCELLED]
const RUNNING = [UPLOADING, RETRYING]

const items = []
let limit = null

function newItem(facts) {
  const item = {
    file: null,
    id: null,
    offset: 0,
    sent: 0,
    unsure: false, // the server has to be asked for the offset
    complete: false,
    state: WAITING,
    reason: '', // why it failed or has to wait, as a sentence
    samples: [],
    since: Date.now(),
    ...facts,
  }
  items.push(item)
  item.row = makeRow(item)
  return item
}

/** Start what may run. Not more than a few at once: they share one line, and the first should end first. */
function schedule() {
  let running = items.filter((item) => RUNNING.includes(item.state)).length
  for (const item of items) {
    if (running >= AT_ONCE) break
    if (item.state !== WAITING) continue
    running += 1
    upload(item)
  }
  stayAwake(running > 0)
  renderPage()
}

/** Send a file to its end, through everything that can go wrong on the way. */
async function upload(item) {
  item.controller?.abort()
  item.controller = new AbortController()
  const { signal } = item.controller
  let furthest = item.offset
  let failures = 0
  let restarts = 0
  enter(item, UPLOADING)
  while (!item.complete) {
    try {
      await step(item, signal)
      // Only bytes that arrived count as progress: a server may answer every HEAD and fail every PATCH.
      if (item.offset > furthest) failures = 0
      furthest = Math.max(furthest, item.offset)
    } catch (problem) {
      item.unsure = true
      item.samples = []
      if (signal.aborted || problem instanceof Halted) return
      if (problem instanceof Refusal && problem.isGone && item.id && restarts < RESTARTS) {
        restarts += 1
        furthest = 0
        startOver(item)
      } else if (problem instanceof Refusal && problem.offset !== null && failures === 0) {
        // 409: we were wrong, and are told what is right. Chromium makes us so: when a connection that it used before
        // is reset, it sends the request again by itself. Once; then it is rather another client that sends too.
        failures += 1
        correct(item, problem.offset)
      } else if (problem instanceof Refusal && !problem.isTemporary) {
        await refused(item, problem, signal)
        return
      } else if (problem instanceof Refusal || problem instanceof ConnectionLost) {
        const readable = await isReadable(item)
        if (signal.aborted) return
        if (!readable) {
          unreadable(item)
          return
        }
        if (!(await wait(item, problem, failures, signal))) return
        failures += 1
      } else {
        throw problem
      }
    }
  }
  remember(item)
  watch(item)
  schedule()
}

function step(item, signal) {
  if (!item.id) return create(item, signal)
  if (item.unsure) return ask(item, signal)
  return sendChunk(item, signal)
}

function correct(item, offset) {
  // All bytes there is not yet the end: HEAD tells whether there is a task.
  Object.assign(item, { offset, sent: offset, unsure: offset >= item.size })
}

function startOver(item) {
  forget(item)
  Object.assign(item, { id: null, offset: 0, sent: 0, unsure: false })
}

async function refused(item, refusal, signal) {
  const said = refusal.hasSentence || !item.id ? refusal : await askWhy(item, refusal, signal)
  if (signal.aborted) return
  forget(item)
  fail(item, said.message)
  schedule()
}

/** Whether the file can still be read: a browser tells of one that vanished as if the connection had broken. */
async function isReadable(item) {
  try {
    await item.file.slice(item.offset, item.offset + 1).arrayBuffer()
    return true
  } catch {
    return false
  }
}

function unreadable(item) {
  item.file = null
  item.reason = text('unreadable')
  enter(item, UNCHOSEN)
  schedule()
}

/** Wait before the next try; false when halted meanwhile. */
async function wait(item, problem, failures, signal) {
  const backOff = BACK_OFF_SECONDS[Math.min(failures, BACK_OFF_SECONDS.length - 1)]
  const seconds = Math.max(backOff, problem.retryAfter ?? 0)
  // A 408, 409 or 423 is what a broken connection leaves behind: our own last request, that the server still reads.
  item.reason = problem.status === 429 || problem.status >= 500 ? problem.message : ''
  item.retryAt = Date.now() + seconds * 1000
  enter(item, RETRYING)
  await sleep(item, seconds * 1000, signal)
  if (signal.aborted) return false
  item.state = UPLOADING
  render(item)
  return true
}

/** Sleep until the time is over, or the item is woken, or halted. */
function sleep(item, milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds)
    item.wake = () => {
      clearTimeout(timer)
      resolve()
    }
    signal?.addEventListener('abort', item.wake, { once: true })
  })
}

function progressed(item, sent) {
  const now = performance.now()
  item.sent = Math.min(sent, item.size)
  item.samples.push({ now, sent: item.sent })
  // The last seconds only: a speed is of use as long as it is true.
  while (item.samples.length > 2 && now - item.samples[0].now > 6000) item.samples.shift()
}

/** Bytes a second of late, or null while that is a guess. */
function speed(item) {
  const [first, last] = [item.samples[0], item.samples.at(-1)]
  if (!first || last.now - first.now < 700) return null
  return ((last.sent - first.sent) / (last.now - first.now)) * 1000
}

function pause(item) {
  item.controller?.abort()
  item.unsure = true
  enter(item, PAUSED)
  schedule()
  // Part of the chunk that was on its way has arrived.
  lookAgain(item)
}

function resume(item) {
  enter(item, WAITING)
  schedule()
}

async function remove(item) {
  // Bytes that took long to send are not lost to a slip of the thumb.
  if (item.sent > 0 && !item.asked) {
    item.asked = true
    announce(item, text('sure_question'))
    render(item)
    setTimeout(() => {
      item.asked = false
      render(item)
    }, 4000)
    return
  }
  item.controller?.abort()
  take(item)
  announce(item, text('removed'))
  if (!item.id) return
  try {
    await send('DELETE', address(item))
  } catch {
    // The server removes what is never finished.
  }
}

/** Take an item out of the list, and leave the focus somewhere sensible. */
function take(item) {
  const place = items.indexOf(item)
  const hadFocus = item.row.root.contains(document.activeElement)
  forget(item)
  items.splice(place, 1)
  item.row.root.remove()
  if (hadFocus) {
    const next = items[Math.min(place, items.length - 1)]
    ;(next ? next.row.second : page.choose).focus()
  }
  schedule()
}

// The task of an upload: its id is the upload's

const POLL_MS = 1000
const POLL_AGAIN_MS = 4000

/** Follow a task to its end. */
async function watch(item) {
  enter(item, WATCHING)
  for (;;) {
    let pace = POLL_MS
    try {
      const answer = await api('GET', `api/task/status/${item.id}`)
      if (judge(item, answer)) return
      render(item)
    } catch {
      pace = POLL_AGAIN_MS
    }
    await sleep(item, pace)
    if (!items.includes(item)) return
  }
}

/** Take over what the server says of a task; true when it is over. */
function judge(item, answer) {
  if (!answer.ok) {
    fail(item, answer.message)
    return true
  }
  const [file] = answer.files
  item.task = answer.status
  item.percent = answer.progress
  item.result = file
  if (answer.status === 'completed') enter(item, DONE)
  else if (answer.status === 'cancelled') enter(item, CANCELLED)
  else if (answer.status === 'error') fail(item, file?.error?.message ?? answer.message)
  else return false
  return true
}

async function cancel(item) {
  try {
    await api('POST', `api/task/cancel/${item.id}`)
  } catch {
    announce(item, text('lost', { time: timespan(POLL_AGAIN_MS / 1000) }))
  }
  // Cancelled, or over before that: the status tells.
  item.wake?.()
}

function fail(item, reason) {
  item.reason = reason
  enter(item, FAILED)
}

// Rows

function enter(item, state) {
  item.state = state
  item.asked = false
  render(item)
  renderPage()
  announce(item, state === DONE ? `${text('done')} ${resultLine(item)}` : describe(item).line)
}

/** Tell a screen reader, in one place: a live region that is made with its text says nothing. */
function announce(item, sentence) {
  page.news.textContent = item ? `${item.name}: ${sentence}` : sentence
}

function percentOf(item) {
  // Rounded down: 100% is said when it is true.
  return item.size === 0 ? 0 : Math.floor((100 * item.sent) / item.size)
}

/** What a row shows: a line of words, a tone, the bar (undefined: none, null: going on), icon and buttons. */
function describe(item) {
  const percent = percentOf(item)
  const bar = item.size ? (100 * item.sent) / item.size : 0
  switch (item.state) {
    case WAITING:
      return { line: text('waiting'), tone: 'rest', bar, main: 'pause', second: 'remove' }
    case UPLOADING:
      return { line: uploadLine(item), tone: 'send', bar, main: 'pause', second: 'remove' }
    case RETRYING:
      return { line: retryLine(item), tone: 'warn', bar, icon: 'alert', main: 'try_now', second: 'remove' }
    case PAUSED:
      return { line: text('paused', { percent: number(percent) }), tone: 'rest', bar, main: 'resume', second: 'remove' }
    case UNCHOSEN: {
      const line = item.reason || text('unchosen', { percent: number(percent) })
      return { line, tone: 'rest', bar, main: 'choose_again', second: 'remove' }
    }
    case WATCHING:
      if (item.task !== 'processing') return { line: text('queued'), tone: 'work', bar: null, second: 'cancel' }
      return {
        line: text('processing', { percent: number(item.percent) }),
        tone: 'work',
        bar: item.percent || null,
        second: 'cancel',
      }
    case DONE:
      return { line: resultLine(item), tone: 'good', icon: 'check', second: 'dismiss' }
    case CANCELLED:
      return { line: text('cancelled'), tone: 'rest', second: 'dismiss' }
    default:
      return { line: item.reason || text('failed'), tone: 'bad', icon: 'alert', second: 'dismiss' }
  }
}

function uploadLine(item) {
  if (item.sent === 0 && item.samples.length === 0) return text('starting')
  const parts = [text('uploading', { percent: number(percentOf(item)) })]
  const rate = speed(item)
  if (rate !== null) {
    parts.push(text('speed', { speed: bytes(rate) }))
    if (rate > 0) parts.push(text('left', { time: timespan((item.size - item.sent) / rate) }))
  }
  return parts.join(' · ')
}

function retryLine(item) {
  if (!navigator.onLine) return text('offline')
  const seconds = (item.retryAt - Date.now()) / 1000
  if (seconds <= 0) return text('retrying_now')
  const time = timespan(seconds)
  if (!item.reason) return text('lost', { time })
  return text('busy', { reason: item.reason, time })
}

function resultLine(item) {
  const file = item.result
  const parts = []
  if (file.duration) parts.push(clock(file.duration))
  if (file.width && file.height) parts.push(`${file.width}\u00a0×\u00a0${file.height}`)
  if (file.frame_rate) parts.push(text('fps', { n: number(file.frame_rate, 2) }))
  if (file.video_codec) parts.push(codec(file.video_codec))
  if (file.video_codec) parts.push(file.audio_codec ? codec(file.audio_codec) : text('no_sound'))
  return parts.join(' · ') || text('done')
}

const ACTIONS = {
  pause: { icon: 'pause', run: pause },
  resume: { icon: 'play', run: resume },
  try_now: { run: (item) => item.wake?.() },
  choose_again: { run: () => page.files.click() },
  remove: { icon: 'cross', run: remove },
  remove_sure: { run: remove, danger: true },
  cancel: { run: cancel },
  dismiss: { icon: 'cross', run: take },
}

function makeRow(item) {
  const root = page.template.content.firstElementChild.cloneNode(true)
  const find = (selector) => root.querySelector(selector)
  const row = {
    root,
    picture: find('.picture'),
    name: find('.name'),
    size: find('.size'),
    bar: find('progress'),
    line: find('.line span'),
    icon: find('.line svg'),
    main: find('.main'),
    second: find('.second'),
  }
  row.name.textContent = item.name
  row.name.title = item.name
  for (const button of [row.main, row.second]) {
    button.addEventListener('click', () => ACTIONS[button.dataset.action].run(item))
  }
  page.list.append(root)
  return row
}

function render(item) {
  const { row } = item
  const view = describe(item)
  row.root.dataset.state = item.state
  row.root.dataset.tone = view.tone
  row.size.textContent = bytes(item.size)
  row.line.textContent = view.line
  renderIcon(row.icon, view.icon)
  renderBar(row.bar, view.bar, text('progress_of', { name: item.name }))
  const second = item.asked && view.second === 'remove' ? 'remove_sure' : view.second
  renderButton(row.second, second, item)
  // After the second: the focus of a button that vanishes goes there.
  renderButton(row.main, view.main, item)
  if (item.state === DONE) renderPoster(item)
}

function renderIcon(svg, name) {
  svg.toggleAttribute('hidden', !name)
  if (name) svg.firstElementChild.setAttribute('href', `#icon-${name}`)
}

function renderBar(bar, value, label) {
  bar.hidden = value === undefined
  bar.setAttribute('aria-label', label)
  if (value === null || value === undefined) bar.removeAttribute('value')
  else bar.value = value
}

function renderButton(button, name, item) {
  if (!name) {
    if (button === document.activeElement) item.row.second.focus()
    button.hidden = true
    return
  }
  const { icon, danger = false } = ACTIONS[name]
  const label = text('about', { action: text(name), name: item.name })
  button.hidden = false
  button.dataset.action = name
  button.setAttribute('aria-label', label)
  button.title = icon ? text(name) : ''
  button.classList.toggle('has-words', !icon)
  button.classList.toggle('is-danger', danger)
  renderIcon(button.querySelector('svg'), icon)
  button.querySelector('span').textContent = icon ? '' : text(name)
}

function renderPoster(item) {
  // As with Location, only the path below the page counts.
  const path = /media\/[^?#]+$/.exec(item.result.poster_url ?? '')?.[0]
  if (!path) return
  const label = text('poster_of', { name: item.name })
  const shown = item.row.picture.querySelector('img')
  if (shown) {
    shown.alt = label
    return
  }
  const link = document.createElement('a')
  link.href = new URL(path, BASE)
  link.target = '_blank'
  link.rel = 'noopener'
  const image = document.createElement('img')
  image.alt = label
  image.src = link.href
  link.append(image)
  // The film stays until there is a picture to take its place.
  image.addEventListener('load', () => item.row.picture.replaceChildren(link))
}

// The page

const page = {
  language: document.querySelector('#language'),
  accepted: document.querySelector('#accepted'),
  choose: document.querySelector('#choose'),
  files: document.querySelector('#files'),
  videos: document.querySelector('#videos'),
  summary: document.querySelector('#summary'),
  clear: document.querySelector('#clear'),
  list: document.querySelector('#list'),
  news: document.querySelector('#news'),
  template: document.querySelector('#row'),
}

function renderPage() {
  const count = (...states) => items.filter((item) => states.includes(item.state)).length
  const counts = { done: number(count(DONE)), total: number(items.length), failed: number(count(FAILED)) }
  page.accepted.textContent = limit ? text('accepted_limit', { limit: bytes(limit) }) : text('accepted')
  page.language.textContent = text('other_language')
  page.language.lang = otherLanguage() === 'zh' ? 'zh-CN' : 'en'
  page.summary.textContent = text(count(FAILED) ? 'summary_failed' : 'summary', counts)
  page.videos.hidden = items.length === 0
  page.clear.hidden = count(...ENDED) < 2
  document.body.classList.toggle('has-videos', items.length > 0)
  renderTitle()
}

/** The tab tells how far the uploads are, for whoever does something else meanwhile. */
function renderTitle() {
  const going = items.filter((item) => RUNNING.includes(item.state) || item.state === WAITING)
  const total = going.reduce((sum, item) => sum + item.size, 0)
  const sent = going.reduce((sum, item) => sum + item.sent, 0)
  document.title = total ? `${Math.floor((100 * sent) / total)}% – Videodock` : 'Videodock'
}

function otherLanguage() {
  return language === 'zh' ? 'en' : 'zh'
}

function speak(wanted) {
  language = wanted
  document.documentElement.lang = wanted === 'zh' ? 'zh-CN' : 'en'
  for (const element of document.querySelectorAll('[data-text]')) element.textContent = text(element.dataset.text)
  renderPage()
  for (const item of items) {
    render(item)
    // The server says why a task failed, in the language that it is asked in.
    if (item.state === FAILED && item.complete) watch(item)
  }
}

function switchLanguage() {
  speak(otherLanguage())
  try {
    localStorage.setItem('videodock-language', language)
  } catch {
    // It lasts until the next reload, then.
  }
}

function preferredLanguage() {
  let chosen = null
  try {
    chosen = localStorage.getItem('videodock-language')
  } catch {
    // As above.
  }
  if (chosen in TEXTS) return chosen
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en'
}

/** Take files that a person chose or dropped: those that are known go on, the others are new. */
async function takeIn(files) {
  await remembered
  for (const file of files) {
    const key = fingerprint(file)
    const known = items.find((item) => item.key === key && !ENDED.includes(item.state))
    if (!known) {
      render(newItem({ key, file, name: file.name, size: file.size }))
    } else if (known.state === UNCHOSEN) {
      Object.assign(known, { file, unsure: known.id !== null, reason: '' })
      enter(known, WAITING)
    } else {
      // Chosen twice: it is on its way already, or was paused on purpose.
      known.row.root.scrollIntoView({ block: 'nearest' })
    }
  }
  schedule()
}

/** Bring back what this page knew before a reload. */
async function recall() {
  for (const record of records()) {
    const item = { id: record.id }
    if (await hold(item)) bringBack({ ...record, release: item.release })
  }
  renderPage()
}

function bringBack({ stage, at, ...facts }) {
  const complete = stage === 'task'
  const item = newItem({ ...facts, sent: facts.offset, complete, unsure: true, state: UNCHOSEN })
  render(item)
  if (complete) watch(item)
  else lookAgain(item)
}

/** See how far a resting upload is: what was remembered may be old, and the upload gone. */
async function lookAgain(item) {
  if (!item.id) return
  item.controller = new AbortController()
  const { state } = item
  const seen = { id: item.id }
  try {
    // Halted when the upload goes on and asks for itself: a HEAD takes the upload away from a PATCH.
    await ask(seen, item.controller.signal)
  } catch (problem) {
    if (problem instanceof Refusal && !problem.isTemporary && item.state === UNCHOSEN) take(item)
    return
  }
  if (item.state !== state) return
  Object.assign(item, seen, { unsure: true })
  if (item.complete) watch(item)
  else render(item)
}

function dropped(transfer) {
  const entries = Array.from(transfer.items, (entry) => entry.webkitGetAsEntry?.())
  const files = Array.from(transfer.files)
  if (!entries.some((entry) => entry?.isDirectory)) return files
  announce(null, text('folder'))
  return files.filter((_, place) => !entries[place]?.isDirectory)
}

let awake = null

/** Keep a telephone's screen on while it uploads: with the screen, many switch off the upload. */
function stayAwake(wanted) {
  if (!navigator.wakeLock) return
  if (document.hidden) {
    awake = null // the browser has taken it back
  } else if (wanted) {
    awake ??= navigator.wakeLock.request('screen').catch(() => null)
  } else {
    awake?.then((lock) => lock?.release())
    awake = null
  }
}

function carriesFiles(event) {
  return event.dataTransfer?.types.includes('Files')
}

function listen() {
  page.language.addEventListener('click', switchLanguage)
  page.choose.addEventListener('click', () => page.files.click())
  page.files.addEventListener('change', () => {
    const files = Array.from(page.files.files)
    // Emptied, so that the same file may be chosen again.
    page.files.value = ''
    takeIn(files)
  })
  page.clear.addEventListener('click', () => {
    for (const item of items.filter(({ state }) => ENDED.includes(state))) take(item)
    page.choose.focus()
  })
  // The whole page takes a drop: one that misses the zone would otherwise open the video in place of the page.
  document.addEventListener('dragover', (event) => {
    if (!carriesFiles(event)) return
    event.preventDefault()
    event.dataTransfer.dropEffect = 'copy'
    document.body.classList.add('is-dragging')
  })
  document.addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) document.body.classList.remove('is-dragging')
  })
  document.addEventListener('drop', (event) => {
    if (!carriesFiles(event)) return
    event.preventDefault()
    document.body.classList.remove('is-dragging')
    takeIn(dropped(event.dataTransfer))
  })
  window.addEventListener('online', () => {
    for (const item of items) item.wake?.()
  })
  window.addEventListener('beforeunload', (event) => {
    if (items.some((item) => RUNNING.includes(item.state))) event.preventDefault()
  })
  document.addEventListener('visibilitychange', schedule)
  setInterval(() => {
    for (const item of items) if (RUNNING.includes(item.state)) render(item)
    renderTitle()
  }, 400)
}

speak(preferredLanguage())
listen()
readLimit()
const remembered = recall()
