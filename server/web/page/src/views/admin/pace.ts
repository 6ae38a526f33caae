// How often an operator's rooms ask, and which events make them ask at once.

/** Rates are the difference between two looks, so a look every few seconds is needed while there are no events. */
export const OVERVIEW_MS = 4000

export const TASK_EVENTS = [
  'task.created',
  'task.processing',
  'task.completed',
  'task.failed',
  'task.cancelled',
  'task.retried',
  'task.removed',
] as const

export const UPLOAD_EVENTS = [
  'upload.created',
  'upload.finished',
  'upload.terminated',
  'upload.expired',
  'upload.rejected',
] as const
