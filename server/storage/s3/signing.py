"""Addresses at which a client gets an object itself, for a while.

Rule: an address is valid for GET of one object with the headers that were signed; it is computed here, and no request
is made for it.
"""

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from server.storage.s3.location import Location
from server.storage.stored_file import Terms


class Signer:
    """Signs for the bucket at `location`, whose endpoint is the one that clients reach; `make_client` makes boto3's."""

    def __init__(self, location: Location, make_client: Callable[[Location], Any]) -> None:
        self._location = location
        self._make_client = make_client
        self._lock = threading.Lock()
        self.origins = origins(location)

    @cached_property
    def _client(self) -> Any:
        with self._lock:  # making clients is not safe on several threads
            return self._make_client(self._location)

    def sign(self, key: str, terms: Terms) -> str:
        """The address of an object. Blocking: credentials may have to be renewed."""
        headers = {
            "ResponseContentType": terms.media_type,
            "ResponseCacheControl": terms.cache_control,
            "ResponseContentDisposition": terms.disposition,
        }
        wanted = {name: value for name, value in headers.items() if value is not None}
        params = {"Bucket": self._location.bucket, "Key": self._location.prefix + key, **wanted}
        return str(self._client.generate_presigned_url("get_object", Params=params, ExpiresIn=terms.seconds))


def origins(location: Location) -> Sequence[str]:
    """The origins of such addresses, for a Content-Security-Policy. Nothing is asked for them."""
    if location.endpoint is None:
        host = f"{location.bucket}.s3"
        regional = [f"https://{host}.{location.region}.amazonaws.com"] if location.region else []
        return [f"https://{host}.amazonaws.com", *regional]
    found = urlsplit(location.endpoint)
    host = found.netloc if location.dialect.is_path_style else f"{location.bucket}.{found.netloc}"
    return [f"{found.scheme}://{host}"]
