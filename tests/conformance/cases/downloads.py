"""Reading back what was stored, where the server gives it out by GET: not of tus, but the proof of every byte."""

from tests.conformance.case import REFUSED, Ask, Case, Given
from tests.conformance.cases.checksum import RIGHT, WRONG
from tests.conformance.cases.concatenation import joined, parts
from tests.conformance.cases.robustness import BIG, LENGTH, chunked_too_long, cut, late_bytes, resume
from tests.conformance.features import DOWNLOADS
from tests.conformance.session import DATA, OCTETS, FailedError, Session

READABLE = (DOWNLOADS,)
RULE = "RFC 9110, section 9.3.1"


def _same(session: Session, url: str, wanted: bytes = DATA) -> None:
    found = session.read(url)
    if len(found) != len(wanted):
        raise FailedError(f"GET: {len(wanted)} bytes expected, {len(found)} came")
    if found != wanted:
        raise FailedError("GET: the bytes are not those that were sent")


def _no_other_length(session: Session) -> None:
    length = session.head(session.upload).headers.get("content-length", "1000")
    if length != "1000":
        raise FailedError(f"HEAD: Content-Length {length} came, and GET has 1000 bytes")


def _pieces(session: Session) -> None:
    for start in range(0, 1000, 125):
        session.append(session.upload, start, DATA[start : start + 125])
    _same(session, session.upload)


def _deferred(session: Session) -> None:
    session.append(session.upload, 300, DATA[300:], {"Upload-Length": "1000"})
    _same(session, session.upload)


def _with_creation(session: Session) -> None:
    headers = {"Upload-Length": "1000", "Content-Type": OCTETS}
    url = session.created(session.ask("POST", session.mount, headers, DATA[:300]))
    session.append(url, 300, DATA[300:])
    _same(session, url)


def _cut(session: Session) -> None:
    url, offset = cut(session)
    resume(session, url, offset)
    _same(session, url, BIG[:LENGTH])


def _taken_over(session: Session) -> None:
    late_bytes(session)
    _same(session, session.upload)


def _joined(session: Session) -> None:
    _same(session, joined(session, parts(session)))


def _mismatch(session: Session) -> None:
    session.patch(session.upload, 300, bytes(700), {"Upload-Checksum": WRONG})
    session.append(session.upload, 300, DATA[300:], {"Upload-Checksum": RIGHT})
    _same(session, session.upload)


def _too_long(session: Session) -> None:
    chunked_too_long(session)
    session.append(session.upload, 300, DATA[300:])
    _same(session, session.upload)


def _whole(session: Session) -> None:
    _same(session, session.upload)


CASES = (
    Case("read-whole", RULE, "an upload of one PATCH is what was sent", (), Given(have=1000), READABLE, _whole),
    Case("read-pieces", RULE, "an upload of eight PATCH is what was sent", (), Given(), READABLE, _pieces),
    Case("read-unfinished", RULE, "an upload that is not whole is not served", (Ask("GET", REFUSED),),
         Given(have=300), READABLE),
    Case("read-head", "RFC 9110, section 9.3.2", "HEAD of other clients than tus has the length of the GET, no other",
         (Ask("HEAD", 200, {"Tus-Resumable": None}, has={"Content-Length": "1000"}),), Given(have=1000), READABLE),
    Case("read-head-of-tus", "RFC 9110, section 9.3.2", "HEAD of a tus client has no length other than the GET's",
         (), Given(have=1000), READABLE, _no_other_length),
    Case("read-deferred", RULE, "an upload of deferred length is what was sent", (), Given(length=None, have=300),
         (*READABLE, "creation-defer-length"), _deferred),
    Case("read-created-with-bytes", RULE, "an upload that began with POST is what was sent", (), None,
         (*READABLE, "creation-with-upload"), _with_creation),
    Case("read-after-cut", "rule 13", "an upload that was cut and resumed is what was sent", (), None, READABLE, _cut,
         alone=True),
    Case("read-after-take-over", "rule 14", "an upload that was taken over has no late byte", (), Given(), READABLE,
         _taken_over, alone=True),
    Case("read-joined", "tus 1.0.0, Concatenation", "a final upload is its parts in their order", (), None,
         (*READABLE, "concatenation"), _joined),
    Case("read-after-mismatch", "tus 1.0.0, Upload-Checksum", "no byte stays of a body that failed its checksum",
         (), Given(have=300), (*READABLE, "checksum"), _mismatch),
    Case("read-after-too-long", "rule 2", "no byte of a refused body is in the upload", (), Given(have=300), READABLE,
         _too_long),
)  # fmt: skip
