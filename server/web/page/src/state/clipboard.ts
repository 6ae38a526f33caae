// Words for the clipboard.

/** Put words on the clipboard; returns whether that worked. */
export async function copy(words: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(words)
    return true
  } catch {
    // Over plain http there is no such clipboard, and the old way is the only one.
    return copyBySelection(words)
  }
}

function copyBySelection(words: string): boolean {
  const before = document.activeElement as HTMLElement | null
  const field = document.createElement('textarea')
  field.className = 'unseen'
  field.value = words
  document.body.append(field)
  field.select()
  const done = document.execCommand('copy')
  field.remove()
  before?.focus()
  return done
}
