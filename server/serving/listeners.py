"""The sockets on which the server listens.

Rule: a port that is refused stops the start with a sentence that says what to do.
"""

import errno
import socket

from server.errors import StartError

BACKLOG = 2048


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of `host`; raises `StartError` when the port is refused.

    Listening starts before the app does, so that a second server on the same port stops before it touches
    the database; early clients wait in the queue.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise StartError(f"The address {host!r} cannot be resolved: {error.strerror}.") from None
    made: list[socket.socket] = []
    refused: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        # With port 0 the first address gets a free port, and the others the same one.
        chosen = made[0].getsockname()[1] if made else port
        try:
            made.append(_listener(family, kind, protocol, (address[0], chosen, *address[2:])))
        except OSError as error:
            refused = error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break  # an address that the machine lacks is skipped, such as ::1 without IPv6
    else:
        if made:
            return made
    for one in made:
        one.close()
    raise StartError(_why_not(host, port, refused))


def _listener(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _why_not(host: str, port: int, error: OSError | None) -> str:
    if error is not None and error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use: stop what uses it, or choose another port with --port."
    if error is not None and error.errno == errno.EACCES:
        return f"Port {port} is not for this user: choose one from 1024 on with --port."
    return f"It is not possible to listen on {host}, port {port}: {error.strerror if error else 'no address'}."
