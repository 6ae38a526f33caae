"""The cookie of a sign-in: its name, its attributes, and finding it in a request (RFC 6265).

Rules:

- It is HttpOnly and SameSite=Strict. The page's own requests send it all the same, also after a link of another site
  has opened the page; only the navigation itself does not, and the page's files need no sign-in.
- Over https it is Secure, and its name begins with `__Host-`, or with `__Secure-` below a prefix. A browser takes such
  names over https only, and `__Host-` from this host alone: no other site can plant one. Plain http has no such names.
- Below a prefix the name ends with it, so that the cookies of two servers on one host never meet.
- Of these names only the one that fits the request counts, and it must be there once: two readers could take different
  ones of two.
"""

import re
from collections.abc import Mapping
from typing import Any

NAME = "videodock_session"
_VALUE = re.compile(r"[A-Za-z0-9_-]{1,128}")
# What may stand in an attribute; a prefix with another character gets the cookie for all of the host.
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,=:@%-]+)+")


def name(scope: Mapping[str, Any]) -> str:
    """The cookie's name for a request; `scope` is an ASGI scope with the public scheme and prefix."""
    path = _path(scope)
    own = NAME if path == "/" else NAME + re.sub(r"[^A-Za-z0-9]", "_", path)
    if not _is_secure(scope):
        return own
    return f"__Host-{own}" if path == "/" else f"__Secure-{own}"


def find(scope: Mapping[str, Any]) -> str | None:
    """The value of a request's cookie; None where it is missing, malformed, or there more than once."""
    wanted = name(scope)
    texts = [raw.decode("latin-1") for header, raw in scope["headers"] if header == b"cookie"]
    pairs = [pair.strip(" \t").partition("=") for text in texts for pair in text.split(";")]
    found = [value for key, _, value in pairs if key == wanted]
    return found[0] if len(found) == 1 and _VALUE.fullmatch(found[0]) else None


def setting(scope: Mapping[str, Any], value: str, seconds: int) -> str:
    """The Set-Cookie header that makes a browser keep `value` for so many seconds."""
    secure = "; Secure" if _is_secure(scope) else ""
    return f"{name(scope)}={value}; Path={_path(scope)}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"


def deletion(scope: Mapping[str, Any]) -> str:
    """The Set-Cookie header that makes a browser drop it."""
    return setting(scope, "", 0)


def _is_secure(scope: Mapping[str, Any]) -> bool:
    return bool(scope.get("scheme") == "https")


def _path(scope: Mapping[str, Any]) -> str:
    root = str(scope.get("root_path", ""))
    return root if _PATH.fullmatch(root) else "/"
