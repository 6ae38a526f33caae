"""Checksums, before the body and in its trailer."""

import base64
import hashlib

from tests.conformance.case import FOUND, REFUSED, Ask, Case, Given, still
from tests.conformance.session import DATA, LENGTH, OCTETS, FailedError, NotOfferedError, Session
from tests.conformance.wire import Answer, chunked

CHECKSUM = ("checksum",)
TRAILER = ("checksum-trailer",)
HALF = Given(have=300)
REST = DATA[300:]
RIGHT = "sha1 " + base64.b64encode(hashlib.sha1(REST).digest()).decode()
WRONG = "sha1 " + base64.b64encode(hashlib.sha1(b"").digest()).decode()
AT_300 = {"Upload-Offset": "300"}


def _crc32c(data: bytes) -> bytes:
    """Castagnoli's CRC, big-endian (RFC 3720 section B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "big")


DIGESTS = {
    "sha1": hashlib.sha1(REST).digest(),
    "sha256": hashlib.sha256(REST).digest(),
    "sha512": hashlib.sha512(REST).digest(),
    "md5": hashlib.md5(REST).digest(),
    "crc32c": _crc32c(REST),
}


def _algorithms(session: Session) -> set[str]:
    names = (session.target.options or {}).get("tus-checksum-algorithm", "")
    return {name.strip() for name in names.split(",")} - {""}


def _sha1_offered(session: Session) -> None:
    if "sha1" not in _algorithms(session):
        raise FailedError("OPTIONS: no sha1 in Tus-Checksum-Algorithm")


def _algorithm(name: str) -> Case:
    def check(session: Session) -> None:
        if name not in _algorithms(session):
            raise NotOfferedError(f"no {name}")
        digest = base64.b64encode(DIGESTS[name]).decode()
        wrong = base64.b64encode(DIGESTS[name][::-1]).decode()
        answer = session.patch(session.upload, 300, REST, {"Upload-Checksum": f"{name} {wrong}"})
        session.expect(answer, "PATCH with a wrong digest", 460)
        session.append(session.upload, 300, REST, {"Upload-Checksum": f"{name} {digest}"})

    return Case(f"checksum-{name}", "tus 1.0.0, Upload-Checksum; rule 12", f"{name} is computed, where it is offered",
                (), HALF, CHECKSUM, check)  # fmt: skip


def _after_mismatch(session: Session) -> None:
    session.patch(session.upload, 300, REST, {"Upload-Checksum": WRONG})
    session.append(session.upload, 300, REST, {"Upload-Checksum": RIGHT})
    session.expect_offset(session.upload, LENGTH)


def _cut(session: Session) -> None:
    connection = session.connect()
    headers = AT_300 | {"Upload-Checksum": RIGHT, "Content-Length": str(len(REST)), "Expect": "100-continue"}
    connection.send(session.request("PATCH", session.upload, headers))
    connection.wait(1)
    connection.send(REST[:500])
    session.deadline.pause(0.2)
    connection.close()
    if not session.poll(lambda: session.offset(session.upload) == 300, 3):
        raise FailedError("HEAD: the offset moved by a checked body that was cut off")
    session.append(session.upload, 300, REST, {"Upload-Checksum": RIGHT})


def _mismatch_in_creation(session: Session) -> None:
    headers = {"Upload-Length": "1000", "Content-Type": OCTETS, "Upload-Checksum": WRONG}
    answer = session.ask("POST", session.mount, headers, DATA)
    session.expect(answer, "POST", 460, lacks=("Upload-Offset",))


def _trailing(session: Session, value: str | None) -> Answer:
    connection = session.connect()
    headers = AT_300 | {"Transfer-Encoding": "chunked", "Trailer": "Upload-Checksum"}
    trailers = {} if value is None else {"Upload-Checksum": value}
    body = chunked([REST[:100], REST[100:]], trailers=trailers)
    connection.offer(session.request("PATCH", session.upload, headers) + body)
    return connection.answer()


def _trailer_right(session: Session) -> None:
    session.expect(_trailing(session, RIGHT), "PATCH", 204, {"Upload-Offset": "1000"})


def _trailer_refused(value: str | None, status: int | range) -> Case:
    kind = {None: "missing", WRONG: "wrong"}.get(value, "unknown")
    shows = {
        "missing": "a trailer that was announced and is missing is refused",
        "wrong": "a wrong checksum in the trailer is 460",
        "unknown": "an unknown algorithm in the trailer is 400",
    }[kind]

    def check(session: Session) -> None:
        session.expect(_trailing(session, value), "PATCH", status)
        session.expect_offset(session.upload, 300)

    return Case(f"trailer-{kind}", "tus 1.0.0, Upload-Checksum; rule 12", f"{shows}, and nothing is stored", (), HALF,
                TRAILER, check)  # fmt: skip


CASES = (
    Case("checksum-algorithms", "tus 1.0.0, Tus-Checksum-Algorithm", "sha1 is offered", needs=CHECKSUM,
         check=_sha1_offered),
    Case("checksum-right", "tus 1.0.0, Upload-Checksum", "a PATCH with the right sha1 is 204",
         (Ask("PATCH", 204, AT_300 | {"Upload-Checksum": RIGHT}, REST, has={"Upload-Offset": "1000"}), still(1000)),
         HALF, CHECKSUM),
    Case("checksum-wrong", "tus 1.0.0, Upload-Checksum; rule 12", "a PATCH with a wrong sha1 is 460, nothing is stored",
         (Ask("PATCH", 460, AT_300 | {"Upload-Checksum": WRONG}, REST), still(300)), HALF, CHECKSUM),
    Case("checksum-after-wrong", "tus 1.0.0, Upload-Checksum", "after a mismatch the right bytes are accepted", (),
         HALF, CHECKSUM, _after_mismatch),
    Case("checksum-unknown", "tus 1.0.0, Upload-Checksum; rule 12", "an unknown algorithm is 400, nothing is stored",
         (Ask("PATCH", 400, AT_300 | {"Upload-Checksum": "rot13 YQ=="}, REST), still(300)), HALF, CHECKSUM),
    Case("checksum-no-base64", "rule 2", "a digest that is not base64 is refused, nothing is stored",
         (Ask("PATCH", REFUSED, AT_300 | {"Upload-Checksum": "sha1 ???"}, REST), still(300)), HALF, CHECKSUM),
    Case("checksum-of-nothing", "tus 1.0.0, Upload-Checksum", "the checksum of no bytes matches an empty body",
         (Ask("PATCH", 204, AT_300 | {"Upload-Checksum": WRONG}, b""), Ask("HEAD", FOUND), still(300)), HALF, CHECKSUM),
    Case("checksum-cut", "rule 12", "nothing stays of a checked body that was cut off", (), HALF, CHECKSUM, _cut),
    Case("checksum-in-creation", "rule 12", "a wrong sha1 of a POST with bytes is 460",
         needs=(*CHECKSUM, "creation-with-upload"), check=_mismatch_in_creation),
    *(_algorithm(name) for name in DIGESTS),
    Case("trailer-right", "tus 1.0.0, Upload-Checksum", "the right sha1 in the trailer of a chunked body is 204", (),
         HALF, TRAILER, _trailer_right),
    _trailer_refused(WRONG, 460),
    _trailer_refused("rot13 YQ==", 400),
    _trailer_refused(None, REFUSED),
)  # fmt: skip
