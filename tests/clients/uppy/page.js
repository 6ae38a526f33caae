// The sample as a page, and a trace of what Uppy says of itself on the console.

import { uppy } from './sample.js'

for (const name of ['restored', 'upload-success', 'upload-error', 'upload-retry', 'complete']) {
  uppy.on(name, (file, answer) => console.info(`uppy ${name} ${answer?.uploadURL ?? answer?.message ?? ''}`.trim()))
}
