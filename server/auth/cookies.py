"""The cookie of a sign-in: its name, its attributes, and finding it in a request (RFC 6265).

Rules:

- It is HttpOnly and SameSite=Strict. The page's own requests send it all the same, also after a link of another site
  has opened the page; only the navigation itself does not, and the page's files need no sign-in.
- Over https it is Secure, and its name begins with `__Host-`, or with `__Secure-` below a prefix. A browser takes such
  names over https only, and `__Host-` from this host alone: no other site can plant one. Plain http has no such names.
- Of these names only the one that fits the request counts.
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
    if not _is_secure(scope):
        return NAME
    return f"__Host-{NAME}" if _path(scope) == "/" else f"__Secure-{NAME}"


def find(scope: Mapping[str, Any]) -> str | None:
    """The value of a request's cookie, or None. Of several, the first counts: browsers send the longest path first."""
    wanted = name(scope)
    for header, raw in scope["headers"]:
        if header != b"cookie":
            continue
        for pair in raw.decode("latin-1").split(";"):
            key, _, value = pair.strip(" \t").partition("=")
            if key == wanted and _VALUE.fullmatch(value):
                return str(value)
    return None


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
