"""`GET /api/config`: what a client has to know before it uploads, so that no client repeats it.

Rule: it is public and the same for everybody; what depends on an owner or a credential is not in it. Shared caches may
keep it for a minute, so nothing in it is a secret or changes by itself.
"""

import hashlib
import json
from collections.abc import Mapping

from starlette.responses import Response

from server.bootstrap import Services
from server.errors import MethodNotAllowedError
from server.settings import Settings
from server.tus import protocol
from server.tus.protocol import Offer
from server.uploads.policy import UploadPolicy
from server.web.branding import Brand
from server.web.described import DescribedRoute
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response
from server.web.middleware.cors import for_api
from server.web.openapi.config import CONFIG

PATH = "/api/config"
CHUNK_HEADERS = "Upload-Limit, Tus-Max-Chunk-Size"
"""Names of the response headers that tell the size of a chunk."""

_CACHE = "public, max-age=60"


def chunk_headers(settings: Settings) -> list[tuple[bytes, bytes]]:
    """What every answer of the tus mount says of chunks; nothing without the setting `advised_chunk_size`.

    `Upload-Limit` is the field of draft-ietf-httpbis-resumable-upload, section 4.4; `Tus-Max-Chunk-Size` is our own.
    """
    size = int(settings.advised_chunk_size)
    if not size:
        return []
    return [(b"upload-limit", b"max-append-size=%d" % size), (b"tus-max-chunk-size", b"%d" % size)]


def describe(settings: Settings, policy: UploadPolicy, offer: Offer, brand: Brand) -> Mapping[str, object]:
    """The body of the answer. Sizes are in bytes, times in seconds; None is: every type, or no advice."""
    return {
        "success": True,
        "chunk_size": int(settings.advised_chunk_size) or None,
        "max_files": settings.max_files,
        "authentication": settings.auth == "on",
        "downloads": settings.downloads == "on",
        "sharing": {"embed": bool(settings.embed_ancestors)},
        "brand": brand.as_config(),
        "tus": {
            "version": protocol.VERSION,
            "extensions": list(offer.extensions),
            "checksum_algorithms": list(offer.algorithms),
            "deferred_length": "creation-defer-length" in offer.extensions,
            "max_size": policy.largest(offer.max_size),
            "accepted_extensions": policy.listed(by_form=False),
            "expires_after": settings.upload_expiry,
        },
        "form": {
            "max_file_size": policy.largest(int(settings.max_file_size)),
            "accepted_extensions": policy.listed(by_form=True),
            "idempotency_expires_after": settings.form_answer_expiry,
        },
    }


def routes(services: Services, offer: Offer, brand: Brand) -> list[DescribedRoute]:
    """The one address."""
    body = json.dumps(describe(services.settings, services.policy, offer, brand), separators=(",", ":")).encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"Cache-Control": _CACHE, "ETag": tag, "X-Content-Type-Options": "nosniff"}

    async def answer(call: Call) -> Response:
        if call.head.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError(method=call.head.method, allowed="GET, HEAD, OPTIONS")
        if tag in [part.strip() for part in (call.head.get("If-None-Match") or "").split(",")]:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type="application/json")

    cors = for_api(services.settings, "GET", "HEAD")
    served = endpoint(answer, api_response, route=PATH, intake=services.intake, cors=cors)
    return [DescribedRoute(PATH, served, CONFIG, preflight=True)]
