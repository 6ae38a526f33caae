import Uppy from '@uppy/core'
import Dashboard from '@uppy/dashboard'
import GoldenRetriever from '@uppy/golden-retriever'
import Tus from '@uppy/tus'
import '@uppy/core/css/style.min.css'
import '@uppy/dashboard/css/style.min.css'

const { endpoint } = document.querySelector('#uppy').dataset // such as http://127.0.0.1:8000/files
const allowedFileTypes = ['.mp4', '.mov', '.avi', '.mkv', '.wmv', '.flv', '.3gp', '.webm', '.m4v']

export const uppy = new Uppy({ restrictions: { allowedFileTypes } })
  .use(Dashboard, { target: '#uppy', inline: true, width: '100%' })
  // No chunkSize: one request takes a whole file. The delays outlast a restart of the server.
  .use(Tus, { endpoint, retryDelays: [0, 1000, 3000, 5000, 10000, 20000, 20000], removeFingerprintOnSuccess: true })
  // Files above 10 MiB survive a reload only if this says so.
  .use(GoldenRetriever, { indexedDB: { maxFileSize: 2 ** 31, maxTotalSize: 2 ** 32 } })
  .on('upload-error', (file, error, response) => {
    if (response) uppy.info(response.body.xhr.responseText, 'error', 20000) // the server's own sentence
  })
