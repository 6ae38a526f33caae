// The icons: our own drawings on a grid of 24, each with one meaning on the whole page.
//
// Rule: an icon is decoration; the words beside it, or the label of its button, say what it is.

import { brand, logo } from '../state/brand'

const PATHS = {
  /** Send files to the server. */
  upload: 'M12 16V4.5M7 9l5-5 5 5M4.5 15.5v2a2.5 2.5 0 0 0 2.5 2.5h10a2.5 2.5 0 0 0 2.5-2.5v-2',
  /** Get a file from the server. */
  download: 'M12 4v11.5M7 11l5 5 5-5M4.5 15.5v2a2.5 2.5 0 0 0 2.5 2.5h10a2.5 2.5 0 0 0 2.5-2.5v-2',
  /** A video without a picture. */
  film: 'M6 5h12a2.5 2.5 0 0 1 2.5 2.5v9A2.5 2.5 0 0 1 18 19H6a2.5 2.5 0 0 1-2.5-2.5v-9A2.5 2.5 0 0 1 6 5zM10.2 9.2v5.6l4.6-2.8z',
  folder:
    'M3.5 8V7A2.5 2.5 0 0 1 6 4.5h3.2L11.5 7H18a2.5 2.5 0 0 1 2.5 2.5v7A2.5 2.5 0 0 1 18 19H6a2.5 2.5 0 0 1-2.5-2.5z',
  camera:
    'M4.5 8.5A1.5 1.5 0 0 1 6 7h2l1.5-2.2h5L16 7h2a1.5 1.5 0 0 1 1.5 1.5v8A1.5 1.5 0 0 1 18 18H6a1.5 1.5 0 0 1-1.5-1.5zM12 15.3a3 3 0 1 0 0-6 3 3 0 0 0 0 6z',
  pause: 'M9 6v12M15 6v12',
  /** Play a video, and nothing else. */
  play: 'M8.5 5.8v12.4l9.7-6.2z',
  /** Go on with what was paused. */
  resume: 'M9 6.5l7 5.5-7 5.5',
  /** Stop what is going on, and close what is open. */
  cross: 'M6.5 6.5l11 11M17.5 6.5l-11 11',
  /** Delete what is stored. */
  bin: 'M4.5 7h15M9.5 7V4.5h5V7M6.5 7l.8 12.5h9.4L17.5 7M10.3 10.5v5.5M13.7 10.5v5.5',
  check: 'M5.5 12.5l4.2 4.2 8.8-9.2',
  link: 'M10 13.8a4 4 0 0 0 6 .4l2.6-2.6a4 4 0 0 0-5.7-5.7l-1.4 1.4M14 10.2a4 4 0 0 0-6-.4l-2.6 2.6a4 4 0 0 0 5.7 5.7l1.4-1.4',
  alert: 'M12 8v5M12 16.4v.1M12 3.6 2.9 19.4h18.2z',
  /** Try again. */
  retry: 'M19 12a7 7 0 1 1-2.3-5.2M19.5 4v4h-4',
  edit: 'M4.5 19.5l.8-3.7L16.2 4.9a1.7 1.7 0 0 1 2.4 0l.5.5a1.7 1.7 0 0 1 0 2.4L8.2 18.7z',
  search: 'M10.8 17a6.2 6.2 0 1 0 0-12.4 6.2 6.2 0 0 0 0 12.4zM15.4 15.4l4.6 4.6',
  more: 'M12 5.5v.1M12 12v.1M12 18.5v.1',
  menu: 'M4.5 7h15M4.5 12h15M4.5 17h15',
  grid: 'M5 5h5.5v5.5H5zM13.5 5H19v5.5h-5.5zM5 13.5h5.5V19H5zM13.5 13.5H19V19h-5.5z',
  list: 'M8.5 6.5h11M8.5 12h11M8.5 17.5h11M4.7 6.5v.1M4.7 12v.1M4.7 17.5v.1',
  sort: 'M8 5v14M4.8 15.8L8 19l3.2-3.2M16 19V5M12.8 8.2L16 5l3.2 3.2',
  filter: 'M4.5 6h15l-6 7v5.5l-3-1.5v-4z',
  chart: 'M4.5 19.5h15M7 16v-4.5M12 16V6M17 16V9',
  settings: 'M4.5 7.5h9M17.5 7.5h2M15.5 5.3v4.4M4.5 16.5h2M10.5 16.5h9M8.5 14.3v4.4',
  person: 'M12 11.5a3.7 3.7 0 1 0 0-7.4 3.7 3.7 0 0 0 0 7.4zM5 19.7c.8-3.2 3.5-5 7-5s6.2 1.8 7 5',
  share:
    'M17 8.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM7 14.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM17 20.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM9.2 10.8l5.6-3.4M9.2 13.2l5.6 3.4',
  code: 'M8.5 7.5L4 12l4.5 4.5M15.5 7.5L20 12l-4.5 4.5',
  key: 'M8 16.5a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM11.9 12.5H20.5M17.5 12.5v3.2',
  back: 'M14.5 6l-6 6 6 6',
  forward: 'M9.5 6l6 6-6 6',
  /** The sound is on; the button turns it off. */
  sound: 'M4 9.5v5h3.5l4.5 4v-13l-4.5 4zM15.5 9a4.2 4.2 0 0 1 0 6M18 6.5a7.8 7.8 0 0 1 0 11',
  silent: 'M4 9.5v5h3.5l4.5 4v-13l-4.5 4zM15.5 9.5l5 5M20.5 9.5l-5 5',
  /** A video in a small window above all others. */
  inset: 'M5.5 5h13A2 2 0 0 1 20.5 7v10a2 2 0 0 1-2 2h-13a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2zM12 12h5.5v4H12z',
  fullscreen: 'M4.5 9V4.5H9M15 4.5h4.5V9M19.5 15v4.5H15M9 19.5H4.5V15',
  leave: 'M9 4.5V9H4.5M19.5 9H15V4.5M15 19.5V15h4.5M4.5 15H9v4.5',
  /** The picture that stands for a video. */
  picture:
    'M6 5h12a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2zM4.5 17l4.5-5 3.5 3.5 2.5-2.5 4.5 4M15.5 9.3v.1',
  copy: 'M9 9h10.5v10.5H9zM5 15h-.5V4.5H15V5',
} as const

export type IconName = keyof typeof PATHS

export function Icon({ name, class: className = '' }: { name: IconName; class?: string }) {
  return (
    <svg class={`icon ${className}`} viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  )
}

/** The mark of the server, or the operator's logo. */
export function Mark() {
  if (logo) return <img class="mark is-logo" src={logo} alt="" style={{ aspectRatio: brand.ratio }} />
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M12 9.5v13l11-6.5z" />
    </svg>
  )
}
