"""Bodies: whether they arrive at once, whole, unchanged, and of any size.

Rule: it sends at most a few MiB. Limits of size are asked for with `Expect: 100-continue`, which costs a head each.
"""

import base64
import hashlib
import time

from server.doctor import heads
from server.doctor.findings import Check
from server.doctor.sample import piece
from server.doctor.visit import Visit, ends_badly
from server.doctor.wire import Answer, Connection, NoAnswerError
from server.messages import size
from server.messages.phrases import Phrase

_KIB, _MIB = 1 << 10, 1 << 20
_BROKEN_BYTES = 256 * _KIB
_ARRIVES_SECONDS = 3.0
_SILENCE_SECONDS = 3.0
_LARGE_BYTES = 8 * _MIB
_LATER_BYTES = 4 * _MIB  # of the upload, for the checks after the one that sends much
_LEAST_BYTES = 64 * _KIB  # of an upload with which anything can be seen
_BUFFERED_CHUNK = 8 * _MIB


def examine(visit: Visit) -> bool:
    """All checks of bodies, in an order in which each finds the upload as it needs it; False when none arrives."""
    if visit.length < _LEAST_BYTES:
        with visit.report.check("patch") as check:
            check.skip("upload_too_small")
        return False
    with visit.report.check("patch") as check:
        _first(visit, check)
    if check.findings:
        return False
    with visit.report.check("checksum") as check:
        _check_checksum(visit, check)
    with visit.report.check("interim") as check:
        _check_interim(visit, check)
    with visit.report.check("body_limit") as check:
        _check_limit(visit, check)
        _advise(visit, check)
    with visit.report.check("buffering") as check:
        _check_buffering(visit, check)
    return True


def advised(limit: int) -> int:
    """Bytes of a chunk that a proxy with this limit takes: whole MiB where there are some, at most 64 MiB."""
    unit = _MIB if limit >= _MIB else _KIB
    return min(limit // unit * unit, 64 * _MIB) or limit


def _first(visit: Visit, check: Check) -> None:
    """The first bytes: whether PATCH passes at all, and HEAD tells what it acknowledged."""
    answer = visit.send(_KIB)
    if not heads.check_method(answer, "PATCH", check):
        return
    if answer.status != 204:
        if not heads.explained(answer, check):
            check.find("no_answer", reason=f"PATCH: {answer.status} {answer.sentence}")
        return
    if answer.get("Upload-Offset") is None:
        check.find("response_header_lost", name="Upload-Offset")
    found = visit.look()
    if found is not None and found != visit.offset:
        check.find("head_stale", found=found, expected=visit.offset)


def _check_checksum(visit: Visit, check: Check) -> None:
    """Bytes that fit their checksum are taken, others refused with 460."""
    body = piece(visit.offset, 4 * _KIB, visit.head)
    for text, expected in ((b"", 460), (body, 204)):
        digest = base64.b64encode(hashlib.sha1(text, usedforsecurity=False).digest()).decode()
        answer = visit.send(len(body), {"Upload-Checksum": f"sha1 {digest}"})
        if answer.code in ("checksum_unsupported", "extension_unsupported"):
            check.skip("no_checksums")
            return
        if answer.status == 204 != expected:
            check.find("request_header_lost", name="Upload-Checksum")
            return
        if answer.status == 460 != expected:
            check.find("body_changed")
        elif answer.status != expected and not heads.explained(answer, check):
            check.find("no_answer", reason=f"PATCH: {answer.status} {answer.sentence}")


def _check_buffering(visit: Visit, check: Check) -> None:
    """Start a PATCH, break it, and look at the offset."""
    before = visit.offset
    length = min(4 * _BROKEN_BYTES, visit.left, visit.body_limit or visit.left)
    sent = length // 4
    with Connection(visit.address) as connection:
        connection.head("PATCH", visit.upload, visit.headers({**visit.patch_headers(), "Content-Length": str(length)}))
        connection.data(piece(before, sent, visit.head))
        time.sleep(0.5)
    found = _offset_after(visit, before + sent)
    if found is None:
        check.find("no_answer", reason=Phrase.of("head_after_cut"))
        return
    check.note = Phrase.of("arrived_before_cut", arrived=size(found - before), sent=size(sent))
    if found == before:
        chunk = min(_BUFFERED_CHUNK, advised(visit.body_limit or _BUFFERED_CHUNK))
        check.find("request_buffered", sent=size(sent), advised=chunk)
    visit.offset = found


def _check_interim(visit: Visit, check: Check) -> None:
    """A PATCH with Expect gets its final answer, after `100 Continue` or without."""
    body = piece(visit.offset, _KIB, visit.head)
    headers = {**visit.patch_headers(), "Content-Length": str(len(body)), "Expect": "100-continue"}
    with Connection(visit.address) as connection:
        connection.head("PATCH", visit.upload, visit.headers(headers))
        connection.interim(_SILENCE_SECONDS)
        connection.data(body)
        connection.end()
        try:
            answer = connection.answer(_SILENCE_SECONDS)
        except NoAnswerError as error:
            if 100 not in error.interim:
                raise OSError(f"PATCH with Expect: {error}") from None
            check.find("interim_taken_for_answer")
            visit.offset = visit.look() or visit.offset
            return
    if answer.status == 204 and answer.is_ours:
        visit.offset += len(body)
        return
    # A proxy that has read an interim answer as the final one cannot make sense of what comes next.
    if answer.status in (100, 101, 102, 103, 500, 502):
        check.find("interim_taken_for_answer")
    elif answer.status != 417:  # RFC 9110 section 15.5.18: a client then sends without Expect
        check.find("no_answer", reason=f"PATCH with Expect: {answer.status}")
    visit.offset = visit.look() or visit.offset


def _check_limit(visit: Visit, check: Check) -> None:
    """The largest body that passes: by the answer to its head, and by 8 MiB that are really sent."""
    room = visit.left
    refusal = _refusal(visit, room)
    if refusal is not None:
        low, high = 0, room
        while high - low > 1:
            middle = (low + high) // 2
            if _refusal(visit, middle) is None:
                low = middle
            else:
                high = middle
        _limited(visit, check, low, refusal.status)
    large = min(_LARGE_BYTES, room - _LATER_BYTES, visit.body_limit or room)
    check.note = check.note or Phrase.of("at_least", size=size(room))
    if large <= 0:
        return
    before = visit.offset
    try:
        answer: Answer | None = visit.send(large)
        reason = ""
    except OSError as error:
        answer, reason = None, ends_badly(error)
    if answer is not None and answer.status == 204 and answer.is_ours:
        return
    found = visit.look() or before
    visit.offset = found
    if answer is not None and answer.status in (413, 400, 502) and not answer.is_ours and visit.body_limit is None:
        # It counts while it forwards: what arrived is what it allows, but for what was still on its way.
        _limited(visit, check, max(found - before, _KIB), answer.status)
    elif answer is None or not heads.explained(answer, check):
        reason = reason or f"{answer.status if answer else 0}"
        check.find("body_cut", sent=size(large), arrived=size(found - before), reason=reason)


def _limited(visit: Visit, check: Check, limit: int, status: int) -> None:
    visit.body_limit = limit
    check.note = Phrase.of("at_most", size=size(limit))
    if not 0 < visit.told_chunk <= limit:
        wanted = size(visit.max_size)
        check.find("body_limit", limit=size(limit), status=status, wanted=wanted, advised=advised(limit))


def _advise(visit: Visit, check: Check) -> None:
    if visit.body_limit is not None and visit.told_chunk > visit.body_limit:
        limit = visit.body_limit
        check.find("chunk_too_large", told=size(visit.told_chunk), limit=size(limit), advised=advised(limit))


def _refusal(visit: Visit, length: int) -> Answer | None:
    """What refuses a body of this length by its head; None when it is let in."""
    headers = {**visit.patch_headers(), "Content-Length": str(length), "Expect": "100-continue"}
    with Connection(visit.address) as connection:
        connection.head("PATCH", visit.upload, visit.headers(headers))
        if connection.interim(_SILENCE_SECONDS):
            return None
        try:
            answer = connection.answer(0.2)
        except NoAnswerError:
            return None
    return None if answer.is_ours or answer.status != 413 else answer


def _offset_after(visit: Visit, expected: int) -> int | None:
    """The offset, once all bytes that were sent have arrived, or after some seconds."""
    deadline = time.monotonic() + _ARRIVES_SECONDS
    while True:
        found = visit.look()
        if found is None or found >= expected or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
