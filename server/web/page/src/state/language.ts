// The language of the page.
//
// Rule: it is known before anything is drawn, and a change redraws everything that has words.

import { effect, signal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'

import { attempt } from './storage'

/** A language of the page: the name of a file in text/. */
export type Language = 'en' | 'zh'

/** Each language with its own name and its tag (BCP 47). */
export const LANGUAGES: Record<Language, { name: string; tag: string }> = {
  en: { name: 'English', tag: 'en' },
  zh: { name: '中文', tag: 'zh-CN' },
}

const KEY = 'videodock-language'

export const language = signal<Language>(preferred())

export function speaks(wanted: string | null): wanted is Language {
  return wanted !== null && Object.hasOwn(LANGUAGES, wanted)
}

/** Use a language from now on, also after a reload. */
export function setLanguage(wanted: Language): void {
  language.value = wanted
  attempt(() => localStorage.setItem(KEY, wanted))
}

/** Do something after each change of the language, while a component is drawn. */
export function useLanguageChange(act: () => void): void {
  const before = useRef(language.value)
  const spoken = language.value
  useEffect(() => {
    if (before.current === spoken) return
    before.current = spoken
    act()
  }, [spoken])
}

function preferred(): Language {
  const chosen = attempt(() => localStorage.getItem(KEY))
  if (speaks(chosen)) return chosen
  for (const wanted of navigator.languages) {
    const spoken = wanted.toLowerCase().split('-')[0] ?? ''
    if (speaks(spoken)) return spoken
  }
  return 'en'
}

effect(() => {
  document.documentElement.lang = LANGUAGES[language.value].tag
})
