"""The headers that answer OPTIONS to a page of another origin.

Rule: as `web/middleware/cors.py` sends them.
"""

from server.web.openapi.operation import Header, text

_REQUIRED = ("Allow", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age")

PREFLIGHT_HEADERS = tuple(
    Header(name=name, description=description, schema=text(), required=name in _REQUIRED)
    for name, description in (
        ("Allow", "The methods of this address."),
        ("Access-Control-Allow-Methods", "The same, for pages of other origins."),
        ("Access-Control-Allow-Headers", "The request headers that such a page may send."),
        ("Access-Control-Max-Age", "Seconds for which a browser may keep this answer."),
        ("Access-Control-Expose-Headers", "The headers of answers that such a page may read."),
        ("Access-Control-Allow-Origin", "The origin that may use this address; `*`: every one."),
        ("Vary", "What the answer depends on."),
    )
)
