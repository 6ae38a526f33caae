"""Concatenation: partial uploads, and the final ones made of them."""

import itertools
import re
from urllib.parse import urlsplit

from tests.conformance.case import FOUND, REFUSED, Ask, Case, Given, still
from tests.conformance.cases.core import UNKNOWN
from tests.conformance.session import DATA, FailedError, Session
from tests.conformance.wire import Answer, chunked

CONCATENATION = ("concatenation",)
UNFINISHED = ("concatenation-unfinished",)
PARTIAL = {"Upload-Concat": "partial"}
LENGTH = {"Upload-Length": "1000"}
HALF = Given(have=300, concat="partial")
# Unequal, and not in the order of their lengths, so that a wrong order shows.
CUTS = (0, 400, 500, 1000)


def part(session: Session, start: int, end: int, have: int | None = None) -> str:
    """A partial upload of these bytes of the sample, or of the first `have` of them."""
    url = session.create({"Upload-Length": str(end - start)} | PARTIAL)
    stop = end if have is None else start + have
    if stop > start:
        session.append(url, 0, DATA[start:stop])
    return url


def parts(session: Session) -> list[str]:
    """The whole sample as three complete partial uploads."""
    return [part(session, start, end) for start, end in itertools.pairwise(CUTS)]


def final(session: Session, urls: list[str], headers: dict[str, str] | None = None) -> Answer:
    """POST of a final upload."""
    return session.ask("POST", session.mount, {"Upload-Concat": "final;" + " ".join(urls)} | (headers or {}))


def joined(session: Session, urls: list[str]) -> str:
    """A final upload that must be whole."""
    url = session.created(final(session, urls))
    session.expect(session.head(url), "HEAD of the final", FOUND, {"Upload-Offset": "1000", "Upload-Length": "1000"})
    return url


def _chunked(session: Session) -> None:
    concat = {"Upload-Concat": "final;" + " ".join(parts(session)), "Transfer-Encoding": "chunked"}
    url = session.created(session.ask("POST", session.mount, concat, chunked([])))
    session.expect_offset(url, 1000)


def _absolute(session: Session) -> None:
    joined(session, parts(session))


def _paths(session: Session) -> None:
    joined(session, [urlsplit(url).path for url in parts(session)])


def _single(session: Session) -> None:
    joined(session, [part(session, 0, 1000)])


def _head_of_final(session: Session) -> None:
    urls = parts(session)
    url = session.created(final(session, urls))
    session.expect(session.head(url), "HEAD", FOUND, {"Upload-Concat": re.compile(r"final; ?\S+( \S+){2}")})


def _patch_final(session: Session) -> None:
    url = session.created(final(session, parts(session)))
    session.expect(session.patch(url, 1000, None), "PATCH", 403)


def _own_metadata(session: Session) -> None:
    value = "filename eS5tcDQ=,filetype dmlkZW8vbXA0"
    url = session.created(final(session, parts(session), {"Upload-Metadata": value}))
    session.expect(session.head(url), "HEAD", FOUND, {"Upload-Metadata": value})


def _with_length(session: Session) -> None:
    session.expect(final(session, parts(session), LENGTH), "POST", REFUSED, lacks=("Location",))


def _no_partial(session: Session) -> None:
    session.begin(1000, 1000)
    answer = final(session, [session.upload, part(session, 0, 400)])
    session.expect(answer, "POST", REFUSED, lacks=("Location",))
    session.expect_offset(session.upload, 1000)


def _refused(name: str, value: str, shows: str, rule: str = "tus 1.0.0, Upload-Concat") -> Case:
    ask = Ask("POST", REFUSED, {"Upload-Concat": value}, to="mount", lacks=("Location",))
    return Case(name, rule, shows, (ask,), needs=CONCATENATION)


def _deferred_part(session: Session) -> None:
    url = session.create({"Upload-Defer-Length": "1"} | PARTIAL)
    session.append(url, 0, DATA[:400])
    session.append(url, 400, b"", {"Upload-Length": "400"})
    joined(session, [url, part(session, 400, 1000)])


# Unfinished


def _early(session: Session) -> tuple[str, str]:
    """A final upload whose second part still lacks bytes, and that part."""
    late = part(session, 400, 1000, 100)
    answer = final(session, [part(session, 0, 400), late])
    return session.created(answer), late


def _early_head(session: Session) -> None:
    url, _ = _early(session)
    session.expect(session.head(url), "HEAD", FOUND, {"Upload-Concat": re.compile(r"final;.*")}, ("Upload-Offset",))


def _early_completed(session: Session) -> None:
    url, late = _early(session)
    session.append(late, 100, DATA[500:])

    def whole() -> bool:
        headers = session.head(url).headers
        return headers.get("upload-offset") == headers.get("upload-length") == "1000"

    if not session.poll(whole, 5):
        raise FailedError("HEAD: the final upload is not whole after its last part")


def _early_patch(session: Session) -> None:
    url, _ = _early(session)
    session.expect(session.patch(url, 0, DATA[:10]), "PATCH", 403)


CASES = (
    Case("partial-create", "tus 1.0.0, Concatenation", "a partial upload is created and filled like any other",
         (still(300), Ask("PATCH", 204, {"Upload-Offset": "300"}, DATA[300:], has={"Upload-Offset": "1000"})), HALF,
         CONCATENATION),
    Case("partial-head", "tus 1.0.0, Upload-Concat", "HEAD says that an upload is partial",
         (Ask("HEAD", FOUND, has={"Upload-Concat": "partial", "Upload-Offset": "300"}),), HALF, CONCATENATION),
    Case("partial-repeated", "rule 9", "`Upload-Concat: partial` is accepted on HEAD and PATCH",
         (Ask("HEAD", FOUND, PARTIAL, has={"Upload-Offset": "300"}),
          Ask("PATCH", 204, PARTIAL | {"Upload-Offset": "300"}, DATA[300:]), still(1000)), HALF, CONCATENATION),
    Case("final-urls", "tus 1.0.0, Concatenation; rule 9", "a final upload of three absolute URLs is whole",
         needs=CONCATENATION, check=_absolute),
    Case("final-paths", "tus 1.0.0, Concatenation; rule 9", "a final upload of three paths is whole",
         needs=CONCATENATION, check=_paths),
    Case("final-of-one", "tus 1.0.0, Concatenation", "a final upload of one part is whole", needs=CONCATENATION,
         check=_single),
    Case("final-empty-chunked", "rule 11", "a final upload with a chunked body without a byte is whole",
         needs=CONCATENATION, check=_chunked),
    Case("final-head", "tus 1.0.0, Upload-Concat", "HEAD of a final upload names its parts", needs=CONCATENATION,
         check=_head_of_final),
    Case("final-patch", "tus 1.0.0, Concatenation", "PATCH on a final upload is 403", needs=CONCATENATION,
         check=_patch_final),
    Case("final-metadata", "tus 1.0.0, Concatenation", "a final upload has its own metadata", needs=CONCATENATION,
         check=_own_metadata),
    Case("final-with-length", "tus 1.0.0, Concatenation; rule 9", "a final upload with Upload-Length is refused",
         needs=CONCATENATION, check=_with_length),
    Case("final-of-no-partial", "tus 1.0.0, Concatenation", "an upload that is not partial is refused as a part",
         needs=CONCATENATION, check=_no_partial),
    Case("final-of-deferred", "tus 1.0.0, Concatenation", "a part may have had a deferred length",
         needs=(*CONCATENATION, "creation-defer-length"), check=_deferred_part),
    _refused("final-of-unknown", f"final;/files/{UNKNOWN}", "an unknown part is refused"),
    _refused("final-of-nothing", "final;", "a final upload of no part is refused"),
    _refused("final-of-no-id", "final;/files/../../../etc/passwd /files/..%2f..%2fetc%2fpasswd",
             "a part that is not an id is refused", "rule 9"),
    _refused("concat-unknown", "middle", "Upload-Concat that is neither partial nor final is refused", "rule 2"),
    Case("final-early", "tus 1.0.0, Concatenation", "a final upload may come before its parts are whole; it has no "
         "offset yet", needs=UNFINISHED, check=_early_head),
    Case("final-early-completed", "tus 1.0.0, Concatenation", "with the last byte of its parts the final one is whole",
         needs=UNFINISHED, check=_early_completed),
    Case("final-early-patch", "tus 1.0.0, Concatenation", "PATCH on a final upload that waits is 403",
         needs=UNFINISHED, check=_early_patch),
)  # fmt: skip
