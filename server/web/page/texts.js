// The page's texts, in each language, and numbers in a form for people.
//
// Rule: no other script has texts in it; the others that people read are the server's own sentences. It draws nothing.

const TEXTS = {
  en: {
    other_language: '中文',
    heading: 'Upload videos',
    accepted: '{types} are accepted.',
    accepted_limit: '{types} are accepted, up to {limit} each.',
    all_files: 'All files',
    files_of: '{type} files',
    files_of_each: '{types}',
    comma: ', ',
    and: ' and ',
    promise: 'If the connection breaks, the upload goes on where it stopped.',
    choose: 'Choose videos',
    or_drop: 'or drop them here',
    videos: 'Videos',
    summary: '{done} of {total} finished',
    summary_failed: '{done} of {total} finished, {failed} failed',
    clear: 'Clear finished',
    folder: 'Folders cannot be uploaded; choose the videos in them.',

    sign_in_heading: 'Sign in to upload videos',
    credential: 'Key or token',
    credential_hint: 'Your administrator gives you one. A key begins with “vdk_”.',
    credential_missing: 'Enter your key or token.',
    sign_in: 'Sign in',
    signing_in: 'Signing in…',
    signed_in_as: 'Signed in as',
    session_over: 'Your sign-in has ended. Sign in again, and the videos that wait are uploaded.',
    session_unknown: 'The server does not answer. Check the network, and try again.',
    sign_out: 'Sign out',
    sign_out_sure: 'Really sign out?',
    sign_out_question: 'Press again to sign out; videos that are not uploaded yet leave this page',
    signed_out: 'Signed out',
    sign_out_lost: 'The server does not answer; you are still signed in.',

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
    offline_watching: 'No network; the server continues, and the status returns with the network',
    queued: 'Uploaded, waiting to be processed',
    processing: 'Processing, {percent}%',
    step_scan: 'checking for viruses',
    step_probe: 'reading the video',
    step_poster: 'taking the poster',
    step_mp4: 'making the MP4',
    step_hls: 'making the stream',
    step_storyboard: 'taking preview pictures',
    can_play: 'It can be played already.',
    done: 'Done',
    cancelled: 'Cancelled',
    deleted: 'Deleted',
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
    play: 'Play',
    close_player: 'Close player',
    player_of: 'Video: {name}',
    copy_link: 'Copy link',
    copied: 'Link copied',
    not_copied: 'The link could not be copied: {link}',
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
    accepted: '支持{types}。',
    accepted_limit: '支持{types}，单个文件最大 {limit}。',
    all_files: '所有文件',
    files_of: ' {type} 文件',
    files_of_each: ' {types}',
    comma: '、',
    and: ' 和 ',
    promise: '连接中断后会从中断处继续上传。',
    choose: '选择视频',
    or_drop: '或拖放到此处',
    videos: '视频',
    summary: '已完成 {done}/{total}',
    summary_failed: '已完成 {done}/{total}，失败 {failed}',
    clear: '清除已完成',
    folder: '无法上传文件夹，请选择其中的视频。',

    sign_in_heading: '登录后上传视频',
    credential: '密钥或令牌',
    credential_hint: '由管理员提供。密钥以“vdk_”开头。',
    credential_missing: '请输入密钥或令牌。',
    sign_in: '登录',
    signing_in: '正在登录…',
    signed_in_as: '已登录：',
    session_over: '登录已过期。重新登录后，等待中的视频将继续上传。',
    session_unknown: '服务器没有响应，请检查网络后重试。',
    sign_out: '退出登录',
    sign_out_sure: '确定退出？',
    sign_out_question: '再按一次退出登录，尚未上传完成的视频将从此页面移除',
    signed_out: '已退出登录',
    sign_out_lost: '服务器没有响应，您仍处于登录状态。',

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
    offline_watching: '没有网络，服务器会继续处理，网络恢复后自动刷新状态',
    queued: '上传完成，等待处理',
    processing: '正在处理，{percent}%',
    step_scan: '正在扫描病毒',
    step_probe: '正在读取视频信息',
    step_poster: '正在截取封面',
    step_mp4: '正在生成 MP4',
    step_hls: '正在生成流媒体',
    step_storyboard: '正在截取预览图',
    can_play: '已可播放。',
    done: '完成',
    cancelled: '已取消',
    deleted: '已删除',
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
    play: '播放',
    close_player: '关闭播放器',
    player_of: '视频：{name}',
    copy_link: '复制链接',
    copied: '链接已复制',
    not_copied: '无法复制链接：{link}',
    removed: '已移除',
    sure_question: '再按一次移除，已上传的部分将丢失',

    seconds: '{n}\u00a0秒',
    minutes: '{n}\u00a0分钟',
    hours: '{n} 小时 {m} 分钟',
    fps: '{n}\u00a0帧/秒',
    no_sound: '无声',
  },
}

// The current language; importers see every change.
export let language = 'en'

/** Use the language `wanted` from now on; what is on the screen stays as it is. */
export function setLanguage(wanted) {
  language = wanted
}

export function speaks(wanted) {
  return Object.hasOwn(TEXTS, wanted)
}

/** Whether there is a text for it; a newer server may know more steps. */
export function hasText(key) {
  return Object.hasOwn(TEXTS[language], key)
}

export function text(key, values = {}) {
  return TEXTS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '?')
}

// Extensions that are not written in capitals only.
const SPELLED = { webm: 'WebM' }

/** Kinds of files by their extensions, as a sentence lists them; all files when there is none. */
export function kinds(extensions) {
  const names = extensions.map((one) => SPELLED[one] ?? one.toUpperCase())
  const last = names.pop()
  if (last === undefined) return text('all_files')
  if (names.length === 0) return text('files_of', { type: last })
  return text('files_of_each', { types: names.join(text('comma')) + text('and') + last })
}

/** A sentence of this page in every language, as an item's reason has it. */
export function inEach(key) {
  return Object.fromEntries(Object.entries(TEXTS).map(([spoken, texts]) => [spoken, texts[key]]))
}

/** A reason in the current language; in another one until the server has sent it in this. */
export function reasonText(reason) {
  return reason ? (reason[language] ?? Object.values(reason)[0]) : ''
}

export function number(value, digits = 0) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits, useGrouping: false }).format(value)
}

/** Bytes for people, in binary units, as the server's own sentences have them: so a limit reads as it was set. What is
 * rough, such as a speed, has no decimals from 100 on. */
export function bytes(count, isRough = false) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(count) / 10))
  const value = count / 1024 ** power
  return `${number(value, power === 0 || (isRough && value >= 100) ? 0 : 1)}\u00a0${units[power]}`
}

export function timespan(seconds) {
  const whole = Math.max(1, Math.ceil(seconds))
  if (whole < 60) return text('seconds', { n: whole })
  const minutes = Math.round(whole / 60)
  if (minutes < 60) return text('minutes', { n: minutes })
  return text('hours', { n: Math.floor(minutes / 60), m: minutes % 60 })
}

/** A duration as players show it: 0:07, 1:02:03. */
export function clock(seconds) {
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

export function codec(name) {
  return CODECS[name] ?? name.toUpperCase()
}
