// What the API answers, as /openapi.json describes it; only what the page reads.
//
// Rule: sizes are bytes, durations seconds, times ISO 8601 in UTC.

export type TaskStatus = 'uploaded' | 'processing' | 'completed' | 'error' | 'cancelled'

export interface ApiError {
  code: string
  message: string
}

export interface Step {
  name: string
  status: 'waiting' | 'processing' | 'completed' | 'skipped' | 'error' | 'cancelled'
  progress: number
  error: ApiError | null
  /** How long it took; null until it has ended. */
  seconds: number | null
}

export interface TaskFile {
  id: string
  name: string
  size: number
  status: string
  progress: number
  duration: number | null
  width: number | null
  height: number | null
  frame_rate: number | null
  container: string | null
  video_codec: string | null
  audio_codec: string | null
  audio_tracks?: number | null
  hdr?: boolean | null
  playable: boolean
  poster?: 'automatic' | 'frame' | 'picture'
  poster_url: string | null
  mp4_url: string | null
  hls_url: string | null
  storyboard_url: string | null
  original_url?: string | null
  /** Only of a status, not in lists. */
  steps?: Step[]
  remarks: ApiError[]
  error: ApiError | null
}

export interface Task {
  task_id: string
  status: TaskStatus
  removed: boolean
  message: string
  title: string | null
  passthrough: string | null
  progress: number
  partial: boolean
  playable: boolean
  step: string | null
  eta_seconds: number | null
  waiting: ApiError | null
  files: TaskFile[]
  created_at_utc: string
  /** Only for a credential with the scope `admin`. */
  owner?: string
}

export interface TaskPage {
  tasks: Task[]
  /** The cursor of the page that follows; null on the last one. */
  next: string | null
  /** True where a sorted list looks at the newest tasks only. */
  truncated?: boolean
}

export interface Share {
  id: string
  state: 'valid' | 'expired' | 'revoked'
  created_at: string
  expires_at: string | null
  revoked_at: string | null
}

/** A share that was made now: its link is in no other answer. */
export interface NewShare {
  url: string
  token: string
  /** Null when no other site may embed. */
  embed_url: string | null
  share: Share
}

/** What the link of a share shows. */
export interface SharedVideo {
  title: string
  playable: boolean
  expires_at: string | null
  embed_url: string | null
  files: {
    name: string
    duration: number | null
    width: number | null
    height: number | null
    playable: boolean
    poster_url: string | null
    mp4_url: string | null
    hls_url: string | null
    storyboard_url: string | null
  }[]
}

export interface Upload {
  id: string
  url: string | null
  filename: string
  size: number | null
  offset: number
  status: 'open' | 'complete' | 'terminated' | 'expired' | 'failed'
  protocol: string
  partial: boolean
  task_id: string | null
  created_at: string
  completed_at: string | null
  expires_at: string | null
  owner?: string
}

export interface UploadPage {
  uploads: Upload[]
  next: string | null
}

export interface Config {
  /** The largest chunk that the server advises; null without advice. */
  chunk_size: number | null
  max_files: number
  authentication: boolean
  downloads: boolean
  sharing?: { embed: boolean }
  tus: {
    max_size: number | null
    /** Null when every file is accepted. */
    accepted_extensions: string[] | null
    expires_after: number
  }
}

export type Scope = 'upload' | 'read' | 'manage' | 'admin'

export interface Session {
  auth: 'on' | 'off'
  signed_in: boolean
  owner: string | null
  scopes: Scope[]
}

/** An event of `/api/events` or `/api/task/events/<id>`. */
export interface LiveEvent {
  type: string
  task_id: string
  at: string
  upload_id?: string
  received?: number
  length?: number | null
  /** Null before the task exists. */
  status: Task | null
}

/** Reports by name: a row of each. Rates are from 0 to 1, and null where nothing has ended. */
export interface Reports {
  totals: {
    uploads: number
    bytes: number
    ended: number
    succeeded: number
    failed: number
    rejected: number
    expired: number
    arrived: number
    resumed: number
    success_rate: number | null
    resume_rate: number | null
    p50_seconds: number | null
    p95_seconds: number | null
  }
  uploads: { day: string; uploads: number; bytes: number; completed: number; expired: number; resumed: number }
  rates: {
    day: string
    ended: number
    succeeded: number
    failed: number
    rejected: number
    expired: number
    success_rate: number | null
    resume_rate: number | null
  }
  times: { day: string; uploads: number; p50_seconds: number | null; p95_seconds: number | null }
  failures: {
    outcome: 'failed' | 'rejected' | 'expired'
    reason: string | null
    message: string | null
    uploads: number
  }
  storage: { owner: string; originals: number; bytes: number; open_uploads: number; open_bytes: number }
  queue: {
    hour: string
    entered: number
    started: number
    ended: number
    waiting: number
    wait_p50_seconds: number | null
    wait_p95_seconds: number | null
  }
}
