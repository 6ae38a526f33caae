"""What networks do to a server: bodies that stop, answers that are lost, requests that overtake each other."""

from tests.conformance.case import FOUND, GONE, REFUSED, Ask, Case, Given, still
from tests.conformance.cases.core import UNKNOWN
from tests.conformance.session import DATA, OCTETS, VERSION, FailedError, Fields, Session, video
from tests.conformance.wire import Connection, chunked

HALF = Given(have=300)
REST = DATA[300:]
LENGTH, FIRST = 200_000, 90_000
BIG = video(LENGTH)
ATTEMPTS = 3


def stall(session: Session, url: str, offset: int, body: bytes, first: int) -> Connection:
    """A PATCH that stops after `first` bytes of its body; the server is reading it by then."""
    connection = session.connect()
    headers = {"Upload-Offset": str(offset), "Content-Length": str(len(body)), "Expect": "100-continue"}
    connection.send(session.request("PATCH", url, headers))
    if connection.wait(2):
        status, _ = connection.head()
        if status != 100:
            raise FailedError(f"PATCH: 100 expected, {status} came")
    connection.send(body[:first])
    session.deadline.pause(0.2)
    return connection


def settled(session: Session, url: str, wanted: int) -> int:
    """The offset that HEAD tells once the server has noticed a cut; `wanted` is waited for, but not for ever."""
    found = -1

    def arrived() -> bool:
        nonlocal found
        answer = session.ask("HEAD", url)
        if answer.status == 423:
            return False
        session.expect(answer, "HEAD", FOUND)
        found = int(answer.headers.get("upload-offset", "-1"))
        return found >= wanted

    session.poll(arrived, 2)
    if found < 0:
        raise FailedError("HEAD: no Upload-Offset came")
    return found


def cut(session: Session, *, reset: bool = False) -> tuple[str, int]:
    """An upload whose only PATCH was cut off, and the offset that HEAD tells then."""
    url = session.create({"Upload-Length": str(LENGTH)})
    connection = stall(session, url, 0, BIG, FIRST)
    if reset:
        connection.reset()
    else:
        connection.close()
    return url, settled(session, url, FIRST)


def resume(session: Session, url: str, offset: int) -> None:
    """Bring what is missing; the upload must be whole."""
    if offset > FIRST:
        raise FailedError("HEAD: the offset is larger than what was sent")
    session.append(url, offset, BIG[offset:])
    session.expect_offset(url, LENGTH)


def take_over(session: Session, url: str) -> int:
    """A second client asks and sends 100 bytes while the first still holds the upload; the offset then."""
    offset = session.offset(url)
    session.append(url, offset, DATA[offset : offset + 100])
    return offset + 100


def _cut_fin(session: Session) -> None:
    resume(session, *cut(session))


def _cut_rst(session: Session) -> None:
    resume(session, *cut(session, reset=True))


def _kept(session: Session) -> None:
    # A cut may overtake what the server has not read yet, so one of a few must keep it all.
    for _ in range(ATTEMPTS):
        if cut(session)[1] == FIRST:
            return
    raise FailedError("HEAD: bytes that had arrived before the cut are not there")


def _held_head(session: Session) -> None:
    stall(session, session.upload, 0, DATA, 300)
    session.expect(session.ask("HEAD", session.upload), "HEAD", (*FOUND, 423))


def _held_patch(session: Session) -> None:
    stall(session, session.upload, 0, DATA, 300)
    offset = session.offset(session.upload)
    session.append(session.upload, offset, DATA[offset:])
    session.expect_offset(session.upload, 1000)


def _held_delete(session: Session) -> None:
    stall(session, session.upload, 0, DATA, 300)
    session.expect(session.ask("DELETE", session.upload), "DELETE", 204)
    session.expect(session.ask("HEAD", session.upload), "HEAD", GONE)


def _held_silent(session: Session) -> None:
    stall(session, session.upload, 0, DATA, 0)
    session.append(session.upload, 0, DATA)


def late_bytes(session: Session) -> None:
    """The first client goes on after the second has taken over; then the upload is completed."""
    first = stall(session, session.upload, 0, DATA, 300)
    offset = take_over(session, session.upload)
    first.offer(DATA[300:])
    session.deadline.pause(0.2)
    session.expect_offset(session.upload, offset, "after late bytes")
    session.append(session.upload, offset, DATA[offset:])
    session.expect_offset(session.upload, 1000)


def _pipelined(session: Session) -> None:
    connection = session.connect()
    head = session.request("HEAD", session.upload)
    connection.send(head + session.request("PATCH", session.upload, {"Upload-Offset": "300"}, REST) + head)
    session.expect(connection.answer(head=True), "first HEAD", FOUND, {"Upload-Offset": "300"})
    session.expect(connection.answer(), "PATCH", 204, {"Upload-Offset": "1000"})
    session.expect(connection.answer(head=True), "second HEAD", FOUND, {"Upload-Offset": "1000"})


def _one_connection(session: Session) -> None:
    connection = session.connect()
    for start in range(0, 1000, 50):
        body = DATA[start : start + 50]
        connection.send(session.request("PATCH", session.upload, {"Upload-Offset": str(start)}, body))
        answer = connection.answer()
        session.expect(answer, "PATCH", 204, {"Upload-Offset": str(start + 50)})
        if answer.headers.get("connection", "").lower() == "close":
            connection = session.connect()


def _dribble(session: Session) -> None:
    connection = session.connect()
    connection.send(session.request("PATCH", session.upload, {"Upload-Offset": "300", "Content-Length": "700"}))
    for start in range(300, 1000, 100):
        session.deadline.pause(0.02)
        connection.send(DATA[start : start + 100])
    session.expect(connection.answer(), "PATCH", 204, {"Upload-Offset": "1000"})


def _invited(session: Session) -> None:
    connection = stall(session, session.upload, 300, REST, len(REST))
    session.expect(connection.answer(), "PATCH", 204, {"Upload-Offset": "1000"})


def _not_invited(session: Session) -> None:
    connection = session.connect()
    headers = {"Upload-Offset": "0", "Content-Length": "1000", "Expect": "100-continue"}
    connection.send(session.request("PATCH", session.upload, headers))
    answer = connection.answer()
    if answer.interim:
        raise FailedError("PATCH: 100 invites a body that is refused")
    session.expect(answer, "PATCH", 409)


def _unread(name: str, shows: str, status: int, headers: Fields, to: str = "") -> Case:
    def check(session: Session) -> None:
        url = f"{session.mount.rstrip('/')}/{to}" if to else session.upload
        connection = session.connect()
        sent = {"Upload-Offset": "300", "Content-Length": "700"} | dict(headers)
        connection.send(session.request("PATCH", url, sent))
        session.expect(connection.answer(), "PATCH", status)

    return Case(f"unread-{name}", "rule 2", f"{shows} is refused before a byte of the body has arrived", (), HALF,
                check=check)  # fmt: skip


def _readable(session: Session) -> None:
    size = 900_000
    url = session.create({"Upload-Length": str(size)})
    connection = session.connect()
    connection.send(session.request("PATCH", url, {"Upload-Offset": "7", "Content-Length": str(size)}))
    for _ in range(9):
        connection.offer(bytes(size // 9))
    session.expect(connection.answer(), "PATCH", 409)
    session.expect_offset(url, 0)


def _chunked(session: Session) -> None:
    connection = session.connect()
    headers = {"Upload-Offset": "300", "Transfer-Encoding": "chunked"}
    connection.offer(session.request("PATCH", session.upload, headers) + chunked([REST[:1], REST[1:]]))
    session.expect(connection.answer(), "PATCH", 204, {"Upload-Offset": "1000"})


def chunked_too_long(session: Session) -> None:
    """A body whose length nobody tells is longer than the upload: refused, and nothing of it stays."""
    connection = session.connect()
    headers = {"Upload-Offset": "300", "Transfer-Encoding": "chunked"}
    connection.offer(session.request("PATCH", session.upload, headers) + chunked([REST, bytes(300)]))
    session.expect(connection.answer(), "PATCH", REFUSED)
    session.expect_offset(session.upload, 300)


def _offset_twice(session: Session) -> None:
    headers = [("Tus-Resumable", VERSION), ("Content-Type", OCTETS), ("Upload-Offset", "300"), ("Upload-Offset", "0")]
    connection = session.connect()
    connection.offer(session.raw("PATCH", session.upload, headers, REST))
    session.expect(connection.answer(), "PATCH", REFUSED)
    session.expect_offset(session.upload, 300)


def _lost_answer(session: Session) -> None:
    connection = session.connect()
    connection.send(session.request("PATCH", session.upload, {"Upload-Offset": "300"}, REST[:500]))
    connection.wait(5)
    connection.close()
    session.expect_offset(session.upload, 800)
    session.append(session.upload, 800, DATA[800:])


def _ids(name: str, shows: str, *ids: str) -> Case:
    steps = []
    for one in ids:
        steps += [
            Ask("HEAD", REFUSED, to=one, lacks=("Upload-Offset",)),
            Ask("PATCH", REFUSED, {"Upload-Offset": "0"}, DATA, to=one, lacks=("Upload-Offset",)),
        ]
    return Case(f"id-{name}", "rule 19", f"{shows} is refused, and is not a server error", tuple(steps))


CASES = (
    Case("pipelined", "RFC 9112, section 9.3.2", "three requests in one packet are answered in their order", (), HALF,
         check=_pipelined),
    Case("one-connection", "RFC 9112, section 9.3", "twenty PATCH on one connection", (), Given(),
         check=_one_connection),
    Case("slow-body", "tus 1.0.0, PATCH", "a body that is sent in pieces arrives whole", (), HALF, check=_dribble),
    Case("expect-invited", "RFC 9110, section 10.1.1", "100 Continue invites a body that is wanted", (), HALF,
         check=_invited),
    Case("expect-not-invited", "rule 2", "no 100 Continue invites a body that is refused", (), HALF,
         check=_not_invited),
    _unread("stale", "a stale offset", 409, {"Upload-Offset": "0"}),
    _unread("foreign-type", "another Content-Type", 415, {"Content-Type": "video/mp4"}),
    _unread("foreign-version", "another version", 412, {"Tus-Resumable": "0.2.2"}),
    _unread("unknown", "an unknown upload", 404, {}, UNKNOWN),
    _unread("too-long", "a body that is too long", 413, {"Content-Length": "701"}),
    Case("refusal-readable", "rule 2", "a client that sends 900 kB first can still read why it was refused",
         check=_readable),
    Case("chunked", "RFC 9112, section 7.1", "a chunked body arrives whole", (), HALF, check=_chunked),
    Case("chunked-too-long", "rule 2", "a chunked body that is too long is refused, nothing of it is stored", (), HALF,
         check=chunked_too_long),
    Case("offset-twice", "rule 2", "two different Upload-Offset are refused", (), HALF, check=_offset_twice),
    Case("answer-lost", "rule 13", "when the answer to a PATCH is lost, HEAD says what it did", (), HALF,
         check=_lost_answer),
    Case("sent-twice", "tus 1.0.0, PATCH", "a PATCH that arrives twice is done once",
         (Ask("PATCH", 204, {"Upload-Offset": "300"}, DATA[300:500]),
          Ask("PATCH", 409, {"Upload-Offset": "300"}, DATA[300:500]), still(500)), HALF),
    Case("method-unknown", "rule 2", "a method that tus does not have is refused",
         (Ask("PUT", REFUSED, {"Upload-Offset": "300"}, REST), still(300)), HALF),
    Case("override-unknown", "rule 2", "a method override that tus does not have is refused",
         (Ask("POST", REFUSED, {"X-HTTP-Method-Override": "BREW", "Content-Length": "0"}), still(300)), HALF),
    _ids("traversal", "a path out of the folder", "..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd"),
    _ids("nul", "an id with a NUL or beyond UTF-8", "8a6b%00", "%ff%fe", "%E5%81%87"),
    _ids("long", "an id of 300 letters", "a" * 300),
    Case("cut-fin", "rule 13", "after a connection is closed in a body, the upload resumes at the offset of HEAD",
         check=_cut_fin, needs=("creation",), alone=True),
    Case("cut-rst", "rule 13", "after a connection is reset in a body, the upload resumes at the offset of HEAD",
         check=_cut_rst, needs=("creation",), alone=True),
    Case("cut-kept", "rule 13", "bytes that arrived before a cut are kept", check=_kept, needs=("creation",),
         alone=True),
    Case("held-head", "rule 4; rule 14", "HEAD is answered while another request holds the upload, and is not 5xx", (),
         Given(), check=_held_head, alone=True),
    Case("held-patch", "rule 14", "a client that reconnects completes the upload that its dead request still holds", (),
         Given(), check=_held_patch, alone=True),
    Case("held-silent", "rule 14", "the same when the dead request has sent only its head", (), Given(),
         check=_held_silent, alone=True),
    Case("held-delete", "rule 14", "DELETE removes an upload that another request holds", (), Given(),
         ("termination",), _held_delete, alone=True),
    Case("held-late-bytes", "rule 14", "late bytes of the request that was taken over are not stored", (), Given(),
         check=late_bytes, alone=True),
)  # fmt: skip
