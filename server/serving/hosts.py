"""The host that a request is for (RFC 9112 section 3.2).

Rule: a request that two readers could take for requests to two hosts is refused. An accepted one has at most one Host,
and that is the authority of its target.
"""

import re

# RFC 9110 section 4.2: uri-host and port. An empty one is valid where the target has no authority.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_SCHEMES = (b"http", b"https")


class HostError(Exception):
    """The request names no host, two of them, or an invalid one."""


def settle(target: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    """The target in origin-form. An authority in the target replaces Host in `headers` (section 3.2.2).

    Names in `headers` are lower case. Raises `HostError`: the answer is 400.
    """
    places = [place for place, (name, _) in enumerate(headers) if name == b"host"]
    # HTTP/1.0 does not define Host, but two of them are ambiguous there as well.
    if len(places) > 1 or (not places and version not in ("0.9", "1.0")):
        raise HostError
    if places and not _HOST.fullmatch(headers[places[0]][1].strip(b" \t")):
        raise HostError
    absolute = None if target.startswith(b"/") else _ABSOLUTE.fullmatch(target)
    if absolute is None:
        return target
    scheme, authority, rest = absolute.groups()
    # A user in a URL can hide where it leads (RFC 9110 section 4.2.4).
    if scheme.lower() not in _SCHEMES or not authority or not _HOST.fullmatch(authority):
        raise HostError
    headers[slice(places[0], places[0] + 1) if places else slice(0, 0)] = [(b"host", authority)]
    return rest if rest.startswith(b"/") else b"/" + rest
