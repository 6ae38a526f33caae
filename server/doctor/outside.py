"""The checks from outside, in their order.

Rule: a check that cannot say anything is skipped with its reason; one that fails does not stop the others, unless there
is nothing to talk to.
"""

import ssl
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlsplit

from server.doctor import addresses, bodies, heads, http2
from server.doctor.findings import Check, Report, VisitEndedError
from server.doctor.visit import Visit, ends_badly
from server.doctor.wire import Address, Answer
from server.messages.phrases import Phrase

_SOON_DAYS = 14
_CLOCK_SECONDS = 30
_LENGTHS = (1 << 30, 256 << 20, 64 << 20, 24 << 20)
"""Bytes of the upload, from the one with which most can be seen; a full disk or a quota may refuse it."""


class UrlError(ValueError):
    """It is not an http or https URL. The text is a sentence."""


RemoveHere = Callable[[str], bool]
"""Removes the open uploads of that file name on this machine; whether there was one."""


def examine(
    url: str,
    report: Report,
    *,
    key: str | None = None,
    origin: str | None = None,
    ca: str | None = None,
    remove_here: RemoveHere = lambda _: False,
) -> None:
    """Add what can be seen from outside to `report`.

    `ca` is a file of certificates that are trusted besides the system's. `remove_here` is for an upload that cannot be
    removed from outside. Blocking, for seconds. Raises `UrlError`.
    """
    visit = _visit(url, report, key, ca)
    try:
        _look(visit, origin)
    except VisitEndedError:
        pass
    finally:
        if visit.segment is not None or visit.is_unknown:
            with report.check("removal") as check:
                _remove(visit, check, remove_here)


def _look(visit: Visit, origin: str | None) -> None:
    report = visit.report
    with report.check("reach") as check:
        _reach(visit, check)
    with report.check("clock") as check:
        _compare_clocks(visit, check)
    heads.examine_before(visit, origin)
    with report.check("creation") as check:
        answer = _create(visit, check)
    with report.check("location") as check:
        addresses.compare(visit, answer, check)
    heads.examine(visit, answer)
    if bodies.examine(visit):
        with report.check("http2") as check:
            http2.examine(visit, check)


def _remove(visit: Visit, check: Check, remove_here: RemoveHere) -> None:
    """Remove the upload, by whatever way is left."""
    reason: str = Phrase.of("silence")
    if visit.has_upload():
        answer = visit.remove()
        if answer is not None and not answer.is_ours:
            check.find("method_refused", method="DELETE", status=answer.status)
        if visit.has_upload():
            answer = visit.remove("POST")
        if not visit.has_upload():
            return
        reason = reason if answer is None else str(answer.status)
    if remove_here(visit.name):
        check.note = Phrase.of("upload_removed_here")
    elif visit.segment is not None:
        check.find("upload_left", id=visit.segment.partition("~")[0], reason=reason)
    else:
        check.find("upload_unknown", name=visit.name)


def _visit(url: str, report: Report, key: str | None, ca: str | None) -> Visit:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlError(f"{url} is not a URL.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise UrlError(f"{url} is not the URL of a site: it is like https://video.example.com or http://10.0.0.5:8000.")
    context = None
    if parts.scheme == "https":
        try:
            context = ssl.create_default_context(cafile=ca)
        except OSError as error:
            raise UrlError(f"{ca} has no certificates: {error.strerror or error}.") from None
    try:
        host = parts.hostname.encode("idna").decode()
    except UnicodeError:
        raise UrlError(f"{parts.hostname} is not the name of a host.") from None
    address = Address(parts.scheme, host, port or (443 if context else 80), context)
    prefix = quote(parts.path.rstrip("/"), safe="/%~:@!$&'()*+,;=")
    return Visit(address=address, prefix=prefix, key=key, report=report)


def _reach(visit: Visit, check: Check) -> None:
    try:
        with visit.address.connect("http/1.1") as connection:
            if isinstance(connection, ssl.SSLSocket):
                _look_at_certificate(visit, connection, check)
        answer = visit.ask("GET", f"{visit.prefix}/healthz")
    except ssl.SSLCertVerificationError as error:
        check.find("certificate_invalid", url=visit.url, reason=error.verify_message)
        raise VisitEndedError from None
    except OSError as error:
        check.find("url_unreachable", url=visit.url, reason=ends_badly(error))
        raise VisitEndedError from None
    if answer.status in (301, 302, 303, 307, 308):
        target = (answer.get("Location") or "").removesuffix("/healthz")
        check.find("redirected", url=visit.url, target=target)
        raise VisitEndedError
    if answer.status != 200 or b'"alive"' not in answer.body:
        check.find("not_videodock", url=visit.url, status=answer.status, path=visit.prefix)
        raise VisitEndedError
    ready = visit.ask("GET", f"{visit.prefix}/readyz")
    if ready.status != 200:
        check.find("server_not_ready", checks=ready.body.decode("utf-8", "replace")[:300])


def _look_at_certificate(visit: Visit, connection: ssl.SSLSocket, check: Check) -> None:
    ends = (connection.getpeercert() or {}).get("notAfter")
    if isinstance(ends, str):
        days = int((ssl.cert_time_to_seconds(ends) - time.time()) // 86400)
        if days < _SOON_DAYS:
            check.find("certificate_expires", url=visit.url, days=days)


def _compare_clocks(visit: Visit, check: Check) -> None:
    answer = visit.ask("GET", f"{visit.prefix}/healthz")
    try:
        theirs = parsedate_to_datetime(answer.get("Date") or "").timestamp()
    except ValueError:
        check.skip("no_date")
        return
    differs = abs(theirs - time.time())
    if differs > _CLOCK_SECONDS:
        check.find("clock_differs", seconds=round(differs))


def _create(visit: Visit, check: Check) -> Answer:
    for length in [size for size in _LENGTHS if size <= visit.max_size] or [visit.max_size]:
        answer = visit.create(length)
        if answer.code not in ("no_room", "quota_reached", "quota_too_small", "upload_too_large"):
            break
    if visit.segment is not None:
        return answer
    if answer.status == 401 and visit.key is None:
        check.find("key_needed")
    elif answer.status in (401, 403) and answer.is_ours:
        check.find("key_refused", status=answer.status, sentence=answer.sentence)
    elif answer.status == 201:
        check.find("response_header_lost", name="Location")
    elif not answer.is_ours:
        check.find("method_refused", method="POST", status=answer.status)
    elif not heads.explained(answer, check):
        check.find("creation_refused", status=answer.status, sentence=answer.sentence)
    raise VisitEndedError
