// Shows the description of the HTTP interface.
//
// Rule: it loads files of this server only, and keeps no credential that somebody types in.
//
// Half of the operations are the same for every address: most HEADs are GET without a body, and OPTIONS is what a browser asks
// before the request of another origin's page. They are shown with `?all`, and are in openapi.json in any case.

const PREFLIGHT = 'Pages of other origins'

function withoutRepeated(description) {
  const paths = {}
  for (const [path, { get, head, options, ...others }] of Object.entries(description.paths)) {
    const kept = { ...others }
    if (get) kept.get = get
    if (head && head.summary !== `${get?.summary} (the head only)`) kept.head = head
    if (options && !options.tags.includes(PREFLIGHT)) kept.options = options
    paths[path] = kept
  }
  return { ...description, paths, tags: description.tags.filter((tag) => tag.name !== PREFLIGHT) }
}

const showsAll = new URLSearchParams(location.search).has('all')
const toggle = document.querySelector('#methods')
toggle.textContent = showsAll ? 'Hide repeated HEAD and OPTIONS' : 'Show every HEAD and OPTIONS'
toggle.search = showsAll ? '' : 'all'

const viewer = document.querySelector('#viewer')
fetch(new URL('openapi.json', document.baseURI))
  .then((answer) => {
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`)
    return answer.json()
  })
  .then((description) =>
    window.SwaggerUIBundle({
      spec: showsAll ? description : withoutRepeated(description),
      domNode: viewer,
      deepLinking: true,
      docExpansion: 'list',
      defaultModelsExpandDepth: 0,
      displayRequestDuration: true,
      filter: true,
      persistAuthorization: false,
      syntaxHighlight: { activated: true, theme: 'nord' },
      validatorUrl: null,
    }),
  )
  .catch((error) => {
    const said = document.createElement('p')
    said.className = 'failed'
    said.textContent = `The description cannot be loaded (${error.message}). Reload the page.`
    viewer.replaceChildren(said)
  })
