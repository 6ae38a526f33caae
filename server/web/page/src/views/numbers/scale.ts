// Marks on the axes of charts.
//
// Rule: marks lie where people expect them: on whole days, on minutes, and on powers of 1024 for bytes.

import { bytes, compact, measured, number, percent } from '../../format'
import { t } from '../../text'

export interface Scale {
  /** A value as words. */
  format: (value: number) => string
  /** A value on the axis. */
  mark: (value: number) => string
  /** Possible distances of marks, ascending. */
  steps: number[]
  /** The end of the axis; without it, that of the data. */
  most?: number
}

const DAY = 86_400
const HOUR = 3600

/** Distances of marks of time. */
export const TIME_STEPS = [
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
  ...[1, 2, 3, 5, 7, 10, 15, 30, 60, 90, 180].map((n) => n * DAY),
]

const powers = (base: number, count: number, parts: number[]) =>
  Array.from({ length: count }, (_, power) => parts.map((part) => part * base ** power)).flat()

export const COUNTS: Scale = {
  format: (value) => compact(value),
  mark: (value) => compact(value, 10_000),
  steps: powers(10, 15, [1, 2, 5]), // whole numbers only
}
export const BYTES: Scale = {
  format: (value) => bytes(value),
  mark: (value) => bytes(value),
  steps: powers(1024, 6, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]),
}
export const SHARES: Scale = {
  format: (value) => percent(value, 1),
  mark: (value) => percent(value),
  steps: [0.25],
  most: 1,
}
export const SECONDS: Scale = {
  format: measured,
  mark: (value) =>
    value === 0 ? '0' : value < 120 && value % 60 ? t('unit.seconds', { n: number(value, 2) }) : measured(value),
  steps: [
    ...[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30],
    ...[60, 120, 300, 600, 1200, 1800, HOUR, 2 * HOUR, 6 * HOUR, 12 * HOUR],
    ...powers(10, 4, [DAY, 2 * DAY, 5 * DAY]),
  ],
}

/** The end of the axis: a mark that the data do not exceed, with about four others below it. */
export function roof(most: number | null, { most: fixed, steps }: Scale): number {
  if (fixed) return fixed
  if (!most || most <= 0) return (steps.find((one) => one >= 1) ?? 1) * 2
  const step = steps.find((one) => most / one <= 4.5) ?? most / 4
  return Math.ceil(most / step) * step
}

/** The marks from 0 to the end of the axis, the end included. */
export function marksTo(end: number, { steps }: Scale): number[] {
  const isWhole = (parts: number) => Math.abs(parts - Math.round(parts)) < 1e-6
  const step = steps.find((one) => end / one < 5.01 && isWhole(end / one)) ?? end / 4
  return Array.from({ length: Math.round(end / step) + 1 }, (_, place) => place * step)
}
