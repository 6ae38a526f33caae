// The page starts here.

import { render } from 'preact'

import { App } from './app'
import { begin } from './state/session'

const root = document.querySelector('#app')
if (root) render(<App />, root)
void begin()
