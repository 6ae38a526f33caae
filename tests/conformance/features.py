"""What a server offers: its own word in Tus-Extension, and three things that it has no word for.

Rule: a server that does not offer something is not judged by it.
"""

from dataclasses import replace
from urllib.parse import urlsplit

from tests.conformance.session import DATA, LENGTH, FailedError, Session, Target
from tests.conformance.wire import ClosedError, NoHttpError, Origin

CROSS_ORIGIN = "cross-origin"
DOWNLOADS = "downloads"
TYPES = "types"
ORIGIN = "https://page.example"


class UnusableError(Exception):
    """The URL cannot be tested; the text says why."""


def look(url: str, headers: tuple[tuple[str, str], ...], seconds: float) -> Target:
    """The server behind a URL and what it offers; raises `UnusableError`."""
    try:
        Origin.of(url)
    except ValueError as error:
        raise UnusableError(f"{url}: {error}") from None
    target = Target(url if urlsplit(url).path else url + "/", headers)
    session = Session(target, seconds)
    try:
        answer = session.ask("OPTIONS", target.url, {"Origin": ORIGIN})
    except (OSError, ClosedError, NoHttpError) as error:
        reason = str(error) or "there is no answer in HTTP"
        raise UnusableError(f"{url} cannot be reached: {reason}") from None
    finally:
        session.close()
    if answer.status not in (200, 204) or "tus-version" not in answer.headers:
        raise UnusableError(f"{url} is no tus server: OPTIONS is answered with {answer.status} and no Tus-Version")
    extensions = {name.strip() for name in answer.headers.get("tus-extension", "").split(",")} - {""}
    if "access-control-allow-origin" in answer.headers:
        extensions.add(CROSS_ORIGIN)
    target = replace(target, options=answer.headers)
    return replace(target, offers=frozenset(extensions | _tried(target, seconds)))


def _tried(target: Target, seconds: float) -> set[str]:
    """Features that show only when they are tried."""
    found = set()
    for feature, shows in ((DOWNLOADS, _gives_back), (TYPES, _refuses_text)):
        session = Session(target, seconds)
        try:
            if shows(session):
                found.add(feature)
        except (FailedError, OSError, ClosedError, NoHttpError):
            pass  # what is broken here is what the cases tell
        finally:
            session.close()
    return found


def _gives_back(session: Session) -> bool:
    session.begin(LENGTH, LENGTH)
    return session.ask("GET", session.upload).body == DATA


def _refuses_text(session: Session) -> bool:
    session.begin(LENGTH)
    return session.patch(session.upload, 0, b"no video " * 20).status == 415
