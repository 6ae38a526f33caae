// Files that a person chose, dropped, pasted or filmed.
//
// Rule: a file that is known already is asked about; a folder brings the videos in it, and leaves out the rest.

import { signal } from '@preact/signals'

import { listTasks, listUploads } from '../../api'
import type { Task, Upload } from '../../api/types'
import { t } from '../../text'
import { config, loadConfig } from '../config'
import { ofVisitor } from '../session'
import { toast } from '../toasts'
import { belongs, check } from './checks'
import { add, beginBatch, fingerprint, type Item, items, makeItem, type Phase, set } from './items'
import { held, hold, remember } from './memory'
import { addPreview } from './preview'
import { schedule } from './queue'

export interface Chosen {
  file: File
  handle?: FileSystemFileHandle | null
  /** The folder that it was in. */
  folder?: string
}

/** A chosen file that is here already, and what it is here. */
export interface Twin {
  chosen: Chosen
  /** It is on this page and not at its end, or a video of the server, or half uploaded from somewhere else. */
  of: { kind: 'here'; item: Item } | { kind: 'task'; task: Task } | { kind: 'open'; upload: Upload }
}

/** What a person is asked about: the same files again. */
export const twins = signal<readonly Twin[]>([])

/** As many names are looked up on the server; a folder of a thousand files is not. */
const MOST_LOOKED_UP = 12

/** An item in these phases is the file that is chosen again; at its end it is a video like all others. */
const KNOWN: readonly Phase[] = ['waiting', 'sending', 'retrying', 'paused', 'unchosen']

/** Take files. Known ones that only lack their file continue, other known ones are asked about, the rest is sent. */
export async function takeIn(chosen: readonly Chosen[]): Promise<void> {
  await loadConfig()
  const fresh: Chosen[] = []
  const asked: Twin[] = []
  for (const one of chosen) {
    const known = items.peek().find((item) => item.key === keyOf(one.file) && KNOWN.includes(item.now.peek().phase))
    if (!known) fresh.push(one)
    else if (known.now.peek().phase === 'unchosen') goOn(known, one)
    else asked.push({ chosen: one, of: { kind: 'here', item: known } })
  }
  const found = fresh.length <= MOST_LOOKED_UP ? await Promise.all(fresh.map(findTwin)) : fresh.map(() => null)
  begin(fresh.filter((_, at) => !found[at]))
  twins.value = [...asked, ...found.filter((one) => one !== null)]
}

/** Send files without any question. */
export function begin(chosen: readonly Chosen[]): void {
  if (chosen.length === 0) return
  beginBatch()
  const since = Date.now()
  const made = chosen.map(({ file, handle, folder }, place) => {
    const reason = check(file, config.peek())
    const given = { file, name: file.name, size: file.size, handle: handle ?? null, folder: folder ?? '', since, place }
    return makeItem(given, reason ? { phase: 'refused', reason } : {})
  })
  for (const item of made) if (item.now.peek().phase === 'refused') item.file = null
  add(...made)
  schedule()
  for (const item of made) if (item.file) addPreview(item, item.file)
}

/** Continue an upload with its file. */
export function goOn(item: Item, { file, handle }: Chosen): void {
  item.file = file
  item.handle = handle ?? null
  set(item, { phase: 'waiting', reason: null, needsPress: false })
  void remember(item)
  schedule()
  addPreview(item, file)
}

/** Continue an upload of another window or device with the same file. */
export async function adopt(upload: Upload, chosen: Chosen): Promise<void> {
  const segment = upload.url?.split('/').pop() ?? upload.id
  const { file, handle } = chosen
  const item = makeItem(
    { file, name: file.name, size: file.size, handle: handle ?? null },
    { segment, offset: upload.offset, sent: upload.offset },
  )
  if (!(await hold(item, segment))) return
  beginBatch()
  add(item)
  void remember(item)
  schedule()
  addPreview(item, file)
}

async function findTwin(chosen: Chosen): Promise<Twin | null> {
  const { name, size } = chosen.file
  if (check(chosen.file, config.peek())) return null
  try {
    const [uploads, tasks] = await Promise.all([
      listUploads({ ...ofVisitor(), status: ['open'], limit: 100 }),
      listTasks({ ...ofVisitor(), name, limit: 20, status: ['uploaded', 'processing', 'completed'] }),
    ])
    const upload = uploads.uploads.find((one) => one.filename === name && one.size === size && one.protocol === 'tus')
    if (upload && !(await held()).has(upload.id)) return { chosen, of: { kind: 'open', upload } }
    const task = tasks.tasks.find(({ files }) => files.some((file) => file.name === name && file.size === size))
    return task ? { chosen, of: { kind: 'task', task } } : null
  } catch {
    return null // what cannot be known is not asked
  }
}

function keyOf(file: File): string {
  return fingerprint(file.name, file.size, file.lastModified)
}

/** The files of an input, in which a folder may have been chosen. */
export function ofInput(input: HTMLInputElement): Chosen[] {
  const files = Array.from(input.files ?? [])
  // Emptied, so that the same file may be chosen again.
  input.value = ''
  const isFolder = input.webkitdirectory
  return files
    .filter((file) => !isFolder || belongs(file, config.peek()))
    .map((file) => ({ file, folder: file.webkitRelativePath.split('/').slice(0, -1).join('/') }))
}

interface WithPicker {
  showOpenFilePicker?(options: object): Promise<FileSystemFileHandle[]>
}

/** Whether the browser's own chooser gives handles, by which files are found again after a reload. */
export function hasPicker(): boolean {
  return 'showOpenFilePicker' in window
}

/** Let a person choose files by the browser's chooser; none when they cancel. */
export async function pick(): Promise<Chosen[]> {
  const accepted = config.peek()?.tus.accepted_extensions
  const types = accepted ? [{ accept: { 'video/*': accepted.map((one) => `.${one}`) } }] : []
  try {
    const handles = await (window as WithPicker).showOpenFilePicker?.({
      multiple: true,
      types,
      id: 'videos',
      startIn: 'videos',
    })
    return await Promise.all((handles ?? []).map(async (handle) => ({ file: await handle.getFile(), handle })))
  } catch {
    return []
  }
}

interface WithHandle {
  getAsFileSystemHandle?(): Promise<FileSystemHandle | null>
}

/** The files of a drop or a paste. It has to be called in the event: the browser empties the transfer after it. */
export async function ofTransfer(transfer: DataTransfer): Promise<Chosen[]> {
  const entries = Array.from(transfer.items)
    .filter(({ kind }) => kind === 'file')
    .map((item) => ({
      entry: item.webkitGetAsEntry?.() ?? null,
      file: item.getAsFile(),
      handle: (item as WithHandle).getAsFileSystemHandle?.().catch(() => null) ?? Promise.resolve(null),
    }))
  const found: Chosen[] = []
  let isFolder = false
  for (const { entry, file, handle } of entries) {
    if (entry?.isDirectory) {
      isFolder = true
      for (const one of await walk(entry as FileSystemDirectoryEntry))
        if (belongs(one.file, config.peek())) found.push(one)
    } else if (file) {
      const held = await handle
      found.push({ file, handle: held?.kind === 'file' ? (held as FileSystemFileHandle) : null })
    }
  }
  if (isFolder && found.length === 0) toast(() => t('upload.no_videos_in_folder'), { tone: 'bad' })
  return found
}

async function walk(folder: FileSystemDirectoryEntry): Promise<Chosen[]> {
  const found: Chosen[] = []
  const reader = folder.createReader()
  for (;;) {
    // A reader gives a hundred entries at a time, and none at the end.
    const entries = await new Promise<FileSystemEntry[]>((resolve) => reader.readEntries(resolve, () => resolve([])))
    if (entries.length === 0) return found
    for (const entry of entries) {
      if (entry.isDirectory) found.push(...(await walk(entry as FileSystemDirectoryEntry)))
      else {
        const read = (resolve: (file: File | null) => void) =>
          (entry as FileSystemFileEntry).file(resolve, () => resolve(null))
        const file = await new Promise<File | null>(read)
        if (file) found.push({ file, folder: folder.fullPath.replace(/^\//, '') })
      }
    }
  }
}
