// Limits as somebody writes them: a number, or bytes with a unit.

const UNITS = ['', 'K', 'M', 'G', 'T', 'P']

/** A limit: a whole number, null where nothing is written, undefined where it is not to be understood. */
export function parseLimit(written: string, isBytes: boolean): number | null | undefined {
  if (written === '') return null
  const found = /^(\d+(?:[.,]\d+)?)\s*(?:([KMGTP]?)(i?)B?)?$/i.exec(written)
  if (!found) return undefined
  const [, digits = '', letter = '', binary = ''] = found
  const value = Number(digits.replace(',', '.'))
  const power = UNITS.indexOf(letter.toUpperCase())
  if (!isBytes && (letter !== '' || !Number.isInteger(value))) return undefined
  // As everywhere on the page, a unit is binary, unless it is written as one of 1000: 5 GB.
  const isDecimal = letter !== '' && binary === '' && /B$/i.test(written)
  const whole = Math.round(value * (isDecimal ? 1000 : 1024) ** power)
  return Number.isSafeInteger(whole) ? whole : undefined
}

/** The same limit, to be changed. */
export function writtenLimit(value: number | null, isBytes: boolean): string {
  if (value === null) return ''
  if (!isBytes || value === 0) return String(value)
  for (let power = UNITS.length - 1; power > 0; power -= 1)
    if (value % 1024 ** power === 0) return `${value / 1024 ** power} ${UNITS[power]}iB`
  return String(value)
}
