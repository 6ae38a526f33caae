// How a program sends the first video.
//
// Rule: a sample is shown as it runs, with the address of this server; the tests take it from here and run it.

import { useState } from 'preact/hooks'

import { address } from '../../api/client'
import { Button } from '../../parts/button'
import { copy } from '../../state/clipboard'
import { isProtected } from '../../state/session'
import { toast } from '../../state/toasts'
import { t } from '../../text'

const FILE = 'holiday.mp4'

interface Sample {
  name: string
  lines: () => readonly string[]
}

/** A line that only a server with authentication needs. */
const secret = (line: string): readonly string[] => (isProtected ? [line] : [])

const SAMPLES: readonly Sample[] = [
  {
    name: 'curl',
    lines: () => [
      'curl \\',
      ...secret('  -H "Authorization: Bearer $VIDEODOCK_KEY" \\'),
      `  -F "videos=@${FILE}" \\`,
      `  ${address('api/upload/videos')}`,
    ],
  },
  {
    name: 'Python',
    lines: () => [
      ...secret('import os'),
      'from tusclient.client import TusClient  # pip install tuspy',
      '',
      ...secret('headers = {"Authorization": "Bearer " + os.environ["VIDEODOCK_KEY"]}'),
      `client = TusClient("${address('files')}"${isProtected ? ', headers=headers' : ''})`,
      `video = client.uploader("${FILE}", metadata={"filename": "${FILE}"}, chunk_size=16 << 20)`,
      'video.upload()',
      'print(video.url)',
    ],
  },
  {
    name: 'JavaScript',
    lines: () => [
      "import { createReadStream } from 'node:fs'",
      "import { Upload } from 'tus-js-client' // npm install tus-js-client",
      '',
      `const video = new Upload(createReadStream('${FILE}'), {`,
      `  endpoint: '${address('files')}',`,
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the template of the sample.
      ...secret('  headers: { Authorization: `Bearer ${process.env.VIDEODOCK_KEY}` },'),
      `  metadata: { filename: '${FILE}' },`,
      '  onSuccess: () => console.log(video.url),',
      '})',
      'video.start()',
    ],
  },
]

export function Program() {
  const [chosen, choose] = useState(0)
  const code = SAMPLES[chosen]?.lines().join('\n') ?? ''
  const take = async () => {
    const done = await copy(code)
    toast(() => (done ? t('share.copied') : t('upload.program_not_copied')))
  }
  return (
    <details class="program">
      <summary>{t('upload.program')}</summary>
      <p>{t('upload.program_hint')}</p>
      {isProtected && <p>{t('upload.program_key')}</p>}
      <div class="program-tools" role="group" aria-label={t('upload.program')}>
        {SAMPLES.map(({ name }, at) => (
          <Button key={name} look="quiet" pressed={at === chosen} onClick={() => choose(at)}>
            {name}
          </Button>
        ))}
        <Button icon="copy" label={t('share.copy')} class="program-copy" onClick={() => void take()} />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls where there is little room, also by keyboard. */}
      <pre tabIndex={0}>{code}</pre>
    </details>
  )
}
