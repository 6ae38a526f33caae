"""What `videodock serve` checks, says and prepares before it listens.

Rule: a start that would expose everything is refused; settings without effect are a warning.
"""

import socket
from ipaddress import ip_address

from server.errors import StartError
from server.settings import Settings


def make_first_key(settings: Settings) -> None:
    """Make the key that signs URLs, before the serving processes start."""
    from server.auth.signatures import Signatures
    from server.bootstrap import utc_now
    from server.database.session import Database

    database = Database(settings.sqlalchemy_url, 1, settings.fsync)
    try:
        Signatures(database, utc_now).make_first()
    finally:
        database.close()


def check_exposure(settings: Settings) -> None:
    """Raise `StartError` when other machines could reach a server that asks for no credential."""
    if settings.auth == "on" or settings.allow_anonymous == "on" or _is_loopback(settings.host):
        return
    if not _is_of_this_machine(settings.host):
        return  # it cannot be listened on, which is the next thing to be said
    raise StartError(
        f"{settings.host} can be reached from other machines, and authentication is off: everybody could upload and "
        "delete. Set --auth on (then `videodock keys create` makes a key), or say --allow-anonymous if that is what "
        "you want."
    )


def warn_of_idle_credentials(settings: Settings) -> None:
    """Say that settings of credentials have no effect while authentication is off."""
    names = [name for name in ("jwt_secret", "jwt_jwks", "auth_url", "auth_proxy_header") if getattr(settings, name)]
    if names and settings.auth == "off":
        import structlog

        structlog.stdlib.get_logger("videodock.cli").warning("authentication_is_off", settings_without_effect=names)


def _is_of_this_machine(host: str) -> bool:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def warn_of_scan_limit(settings: Settings) -> None:
    """Say that uploads are refused which the other limits would let in."""
    allowed = max(settings.tus_max_size, settings.max_file_size)
    if settings.clamd and settings.scan_too_large == "refuse" and settings.scan_max_size < allowed:
        import structlog

        from server.messages import size

        structlog.stdlib.get_logger("videodock.cli").warning(
            "uploads_above_scan_limit_refused",
            scan_max_size=size(settings.scan_max_size),
            tus_max_size=size(settings.tus_max_size),
            max_file_size=size(settings.max_file_size),
        )
