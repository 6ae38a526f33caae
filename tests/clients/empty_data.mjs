// Requests by HTTP/2 whose streams end with an empty DATA frame: their heads do not say that there is no body.
//
// Options: `url`, `requests` (a list of headers); one after the other on one session.

import http2 from 'node:http2'

const { url, requests } = JSON.parse(process.argv[2])

function ask(session, headers) {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers, { endStream: false })
    stream.on('response', (answer) => resolve(answer))
    stream.on('error', reject)
    stream.resume()
    stream.end()
  })
}

const session = http2.connect(url)
for (const headers of requests) {
  const answer = await ask(session, headers)
  console.log(JSON.stringify({ event: 'answer', status: answer[':status'], location: answer.location ?? null }))
}
session.close()
