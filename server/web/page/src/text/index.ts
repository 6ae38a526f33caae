// The page's words, in the language of now.
//
// Rule: no other file has words that people read; the others are the server's own sentences. A language is one file beside
// this one, and `Texts` makes it complete.

import type { Reason } from '../api/client'
import { LANGUAGES, type Language, language } from '../state/language'
import { en } from './en'
import { zh } from './zh'

type English = typeof en
/** What each language has: the same keys in the same rooms. */
export type Texts = { [Room in keyof English]: { [Name in keyof English[Room]]: string } }

/** `room.name` of every text. */
export type Key = { [Room in keyof English & string]: `${Room}.${keyof English[Room] & string}` }[keyof English &
  string]

type Of<K extends Key> = K extends `${infer Room extends keyof English & string}.${infer Name}`
  ? English[Room][Name & keyof English[Room]]
  : never
/** The names in braces of the English text. */
type Names<Words> = Words extends `${string}{${infer Name}}${infer Rest}` ? Name | Names<Rest> : never
type Values<K extends Key> = [Names<Of<K>>] extends [never] ? [] : [values: Record<Names<Of<K>>, string | number>]

/** The key of a text without values. */
export type PlainKey = { [K in Key]: Values<K> extends [] ? K : never }[Key]

const TEXTS: Record<Language, Texts> = { en, zh }

/** A text in the language of now. In a component, it is drawn again when the language changes. */
export function t<K extends Key>(key: K, ...[values]: Values<K>): string {
  return fill(find(language.value, key), values)
}

/** Whether there is a text of that key; a newer server may know more steps. */
export function hasText(key: string): key is Key {
  const [room = '', name = ''] = key.split('.')
  return Object.hasOwn(en, room) && Object.hasOwn(en[room as keyof English], name)
}

/** A text in every language, in the form of a server's refusal. */
export function inEach<K extends Key>(key: K, ...[values]: Values<K>): Reason {
  return inEachBy(key, () => values ?? {})
}

/** The same, with values that differ between the languages. */
export function inEachBy<K extends Key>(
  key: K,
  valuesOf: (spoken: Language) => Record<string, string | number>,
): Reason {
  const spoken = Object.keys(LANGUAGES) as Language[]
  return Object.fromEntries(spoken.map((one) => [one, fill(find(one, key), valuesOf(one))]))
}

/** A text in a certain language. */
export function tIn<K extends Key>(spoken: Language, key: K, ...[values]: Values<K>): string {
  return fill(find(spoken, key), values)
}

/** A reason in the language of now, or in another one until the server has sent it in this. */
export function reasonText(reason: Reason | null | undefined): string {
  return reason ? (reason[language.value] ?? Object.values(reason)[0] ?? '') : ''
}

function find(spoken: Language, key: string): string {
  const [room = '', name = ''] = key.split('.')
  return (TEXTS[spoken] as unknown as Record<string, Record<string, string>>)[room]?.[name] ?? key
}

function fill(words: string, values: Record<string, string | number> | undefined): string {
  return words.replace(/\{(\w+)\}/g, (_, name: string) => String(values?.[name] ?? '?'))
}
