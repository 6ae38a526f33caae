// How fast bytes leave, and how long the rest takes.
//
// Rule: no number without ground: nothing is said before bytes have moved for a while.

const WINDOW_MS = 8000
const GROUND_MS = 1500

export class Speed {
  private samples: { at: number; sent: number }[] = []

  /** Take note of the bytes sent so far. */
  note(sent: number, at = performance.now()): void {
    const last = this.samples.at(-1)
    // Less than before: an attempt has ended, and part of its bytes never arrived.
    if (last && sent < last.sent) this.samples = []
    this.samples.push({ at, sent })
    while (this.samples.length > 2 && at - (this.samples[0]?.at ?? at) > WINDOW_MS) this.samples.shift()
  }

  forget(): void {
    this.samples = []
  }

  /** Bytes a second over the last seconds; null while that is a guess. */
  get now(): number | null {
    const first = this.samples[0]
    const last = this.samples.at(-1)
    if (!first || !last || last.at - first.at < GROUND_MS) return null
    return ((last.sent - first.sent) / (last.at - first.at)) * 1000
  }
}
