// Numbers in a form for people: bytes, durations, dates, codecs.
//
// Rule: one style of units for the whole page, that of the server's own sentences. All follow the language of now.

import { LANGUAGES, type Language, language } from '../state/language'
import { t, tIn } from '../text'

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

export function number(value: number, digits = 0): string {
  return new Intl.NumberFormat(tag(), { maximumFractionDigits: digits, useGrouping: false }).format(value)
}

/** A count, with separators: 12,345. */
export function count(value: number): string {
  return new Intl.NumberFormat(tag()).format(value)
}

/** A count with few digits: 12,345, but 12.3M. */
export function compact(value: number, from = 10_000_000): string {
  if (Math.abs(value) < from) return count(value)
  return new Intl.NumberFormat(tag(), { notation: 'compact', maximumFractionDigits: 1 }).format(value)
}

/** A share between 0 and 1 as a percentage; whole, and rounded down: 100% is said when it is true. */
export function percent(share: number, digits = 0): string {
  const power = 10 ** digits
  // 0.29 * 100 is a little less than 29.
  return `${number(Math.floor(Number((share * 100 * power).toFixed(6))) / power, digits)}%`
}

/** Bytes in binary units. What is rough, such as a speed, has no decimals from 100 on. */
export function bytes(value: number, isRough = false): string {
  return bytesIn(value, language.value, isRough)
}

/** The same, in a certain language. */
export function bytesIn(value: number, spoken: Language, isRough = false): string {
  const power = value < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(value) / 10))
  const scaled = value / 1024 ** power
  const digits = power === 0 || (isRough && scaled >= 100) ? 0 : 1
  const shown = new Intl.NumberFormat(LANGUAGES[spoken].tag, { maximumFractionDigits: digits, useGrouping: false })
  return `${shown.format(scaled)}\u00a0${UNITS[power]}`
}

/** A speed, of bytes a second. */
export function speed(value: number): string {
  return t('unit.speed', { bytes: bytes(value, true) })
}

/** A time span for people, of seconds: 12 s, 5 min, 1 h 20 min. */
export function timespan(seconds: number): string {
  const whole = Math.max(1, Math.ceil(seconds))
  if (whole < 60) return t('unit.seconds', { n: number(whole) })
  const minutes = Math.round(whole / 60)
  if (minutes < 60) return t('unit.minutes', { n: number(minutes) })
  const hours = Math.floor(minutes / 60)
  if (hours < 24) return t('unit.hours', { n: number(hours), m: number(minutes % 60) })
  return t('unit.days', { n: number(Math.floor(hours / 24)), h: number(hours % 24) })
}

/** A time that was measured, of seconds: 0.4 s, 12 s, 5 min. */
export function measured(seconds: number): string {
  return seconds < 10 ? t('unit.seconds', { n: number(seconds, seconds < 1 ? 2 : 1) }) : timespan(seconds)
}

/** A duration as players show it, of seconds: 0:07, 1:02:03. */
export function clock(seconds: number): string {
  const whole = Math.round(seconds)
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  if (parts[0] === 0) parts.shift()
  return parts.map((part, place) => (place === 0 ? String(part) : String(part).padStart(2, '0'))).join(':')
}

/** A date and time of the server, such as 3 Jan 2026, 14:05. */
export function moment(iso: string): string {
  return new Intl.DateTimeFormat(ofVisitor(), { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(iso))
}

/** A date without its time. */
export function day(iso: string): string {
  return new Intl.DateTimeFormat(ofVisitor(), { dateStyle: 'medium' }).format(new Date(iso))
}

/** A day of a report, `2026-11-30`, which is one of UTC. */
export function utcDay(iso: string): string {
  return utc({ dateStyle: 'medium' }).format(new Date(iso))
}

/** Days of a report, as few words as possible: 1 – 30 Nov 2026. */
export function utcDays(from: string, to: string): string {
  return utc({ dateStyle: 'medium' }).formatRange(new Date(from), new Date(to))
}

/** A day and hour of a report, of seconds since 1970. */
export function utcHour(seconds: number): string {
  return utc({ dateStyle: 'medium', timeStyle: 'short' }).format(new Date(seconds * 1000))
}

/** A mark on an axis of time, of seconds since 1970 and between marks. */
export function utcMark(seconds: number, between: number): string {
  const at = new Date(seconds * 1000)
  if (between >= 28 * 86_400) {
    return utc(at.getUTCMonth() === 0 ? { month: 'short', year: 'numeric' } : { month: 'short' }).format(at)
  }
  if (between >= 86_400) return utc({ day: 'numeric', month: 'short' }).format(at)
  return utc({ hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).format(at)
}

function utc(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  return new Intl.DateTimeFormat(ofVisitor(), { ...options, timeZone: 'UTC' })
}

/** How long ago, in the largest unit that fits: 5 minutes ago, yesterday; a date after a week. */
export function ago(iso: string, now = Date.now()): string {
  const seconds = (new Date(iso).getTime() - now) / 1000
  const format = new Intl.RelativeTimeFormat(tag(), { numeric: 'auto' })
  if (seconds > -60) return format.format(0, 'second')
  if (seconds > -3600) return format.format(Math.ceil(seconds / 60), 'minute')
  if (seconds > -86_400) return format.format(Math.ceil(seconds / 3600), 'hour')
  if (seconds > -7 * 86_400) return format.format(Math.ceil(seconds / 86_400), 'day')
  return day(iso)
}

/** `a, b and c`. */
export function list(names: readonly string[]): string {
  return listIn(names, language.value)
}

/** The same, in a certain language. */
export function listIn(names: readonly string[], spoken: Language): string {
  const last = names.at(-1) ?? ''
  return names.length < 2 ? last : names.slice(0, -1).join(tIn(spoken, 'unit.comma')) + tIn(spoken, 'unit.and') + last
}

const CODECS: Record<string, string> = {
  h264: 'H.264',
  hevc: 'H.265',
  av1: 'AV1',
  vp8: 'VP8',
  vp9: 'VP9',
  mpeg4: 'MPEG-4',
  mpeg2video: 'MPEG-2',
  h263: 'H.263',
  flv1: 'Sorenson H.263',
  prores: 'ProRes',
  mjpeg: 'Motion JPEG',
  wmv1: 'WMV 7',
  wmv2: 'WMV 8',
  wmv3: 'WMV 9',
  vc1: 'VC-1',
  aac: 'AAC',
  mp3: 'MP3',
  opus: 'Opus',
  vorbis: 'Vorbis',
  ac3: 'AC-3',
  eac3: 'E-AC-3',
  flac: 'FLAC',
  alac: 'ALAC',
  amr_nb: 'AMR',
  amrnb: 'AMR',
  amr_wb: 'AMR-WB',
  wmav2: 'WMA',
  pcm_s16le: 'PCM',
}

/** The name of a codec as people know it. */
export function codec(name: string): string {
  return CODECS[name] ?? name.toUpperCase()
}

function tag(): string {
  return LANGUAGES[language.value].tag
}

/** The language of now as the visitor's country writes dates: 30 Nov 2026 in London, Nov 30, 2026 in Boston. */
function ofVisitor(): string {
  return navigator.languages.find((one) => one.split('-')[0] === language.value) ?? tag()
}
