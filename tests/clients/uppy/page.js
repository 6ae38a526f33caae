// The samples as a page, and a trace of what Uppy says of itself on the console. With `?grants=…` it asks there.

import { withGrants } from './grants.js'
import { uppy } from './sample.js'

const grants = new URLSearchParams(location.search).get('grants')
if (grants) withGrants(uppy, grants)

for (const name of ['restored', 'upload-success', 'upload-error', 'upload-retry', 'complete']) {
  uppy.on(name, (file, answer) => console.info(`uppy ${name} ${answer?.uploadURL ?? answer?.message ?? ''}`.trim()))
}
