"""The prose of the document."""

from collections.abc import Mapping

from server.web.openapi.operation import Tag

INTRODUCTION = """
Clients upload videos by form or by [tus](https://tus.io/protocols/resumable-upload) and follow the task that their
uploads become.

**Languages.** A `message` is in Chinese, or in English with `Accept-Language: en`. On the tus mount it is the other way
round.

**Errors.** Every refusal has a stable `code` and a sentence. With 408, 423, 429, 500, 503 and 507 a repeated request
may succeed; `Retry-After` says when. Each answer below lists its codes.

**Who may.** With the setting `auth`, a request needs a credential: `Authorization: Bearer` with an API key, a token or
an upload grant, or the sign-in of the page. The URL of an upload has a signature (`/files/<id>~<signature>`) and needs
no credential. What belongs to another owner does not exist: 404.

**Methods.** `X-HTTP-Method-Override` replaces the method of any request. An address answers another method than those
listed with 405 `method_not_allowed`, and an unknown address is 404 `not_found`.

**Pages of other origins** may use all addresses but the sign-in; the setting `cors_origins` restricts them. Answers
then have `Access-Control-Allow-Origin` and `Access-Control-Expose-Headers`.

**Keys.** Clients must ignore keys and headers that they do not know: a later version may add some.
""".strip()

TAGS: Mapping[Tag, str] = {
    Tag.FORM: "One form with up to 50 files becomes one task. Without resuming: for large files, use tus.",
    Tag.TUS: "tus 1.0.0 with every extension: uploads that resume where they stopped.",
    Tag.TASKS: "What has been uploaded, and what becomes of it.",
    Tag.GRANTS: "A backend asks for an upload on behalf of somebody, whose phone then needs no credential.",
    Tag.LIVE: "Server-sent events: what happens, at once.",
    Tag.SHARES: "Links by which anybody sees one video.",
    Tag.REPORTS: "Numbers of uploads and processing, as JSON or CSV.",
    Tag.ADMIN: "What an operator looks at and changes; for the scope `admin`.",
    Tag.WEBHOOKS: "What happens, sent to your server.",
    Tag.RESULTS: "Posters, videos, playlists and thumbnails.",
    Tag.SESSION: "For the upload page. Programs send a key or token with each request instead.",
    Tag.SERVER: "Health, metrics, the page, and this document.",
    Tag.ORIGINS: "What a browser asks before it sends such a page's request (preflight).",
}
