// Shows the description of the HTTP interface.
//
// Rule: it loads files of this server only, and keeps no credential that somebody types in.

window.SwaggerUIBundle({
  url: new URL('openapi.json', document.baseURI).href,
  domNode: document.querySelector('#viewer'),
  deepLinking: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  filter: true,
  persistAuthorization: false,
  syntaxHighlight: { activated: true, theme: 'nord' },
  validatorUrl: null,
})
