"""What the clients that are in use do, request by request, as far as no other case has it."""

from urllib.parse import urlsplit

from tests.conformance.case import FOUND, GONE, REFUSED, Ask, Case, Given, still
from tests.conformance.cases.checksum import RIGHT
from tests.conformance.cases.concatenation import final, part
from tests.conformance.session import DATA, OCTETS, FailedError, Session, metadata

REQUEST_ID = {"X-Request-ID": "0f3c9a52-7d6b-4d5e-9a34-5c0d7a3b2e11"}
LENGTH = {"Upload-Length": "1000"}


def _tuskit(session: Session) -> None:
    names = metadata(filename="6F9619FF-8B86-D011-B42D-00CF4FC964FFIMG_0815.mp4", filetype="video/mp4")
    url = session.create({"TUS-Resumable": "1.0.0", "Upload-Metadata": names} | LENGTH)
    session.append(url, 0, DATA[:400])
    # The answer was lost: TUSKit sends the same chunk again, and goes on where the refusal tells.
    answer = session.patch(url, 0, DATA[:400])
    session.expect(answer, "PATCH", 409, {"Upload-Offset": "400"})
    session.append(url, 400, DATA[400:])


def _tuskit_last(session: Session) -> None:
    session.append(session.upload, 400, DATA[400:])
    answer = session.patch(session.upload, 400, DATA[400:])
    session.expect(answer, "PATCH", 409, {"Upload-Offset": "1000"})


def _tus_js_parallel(session: Session) -> None:
    urls = [part(session, 0, 500), part(session, 500, 1000)]
    session.expect(final(session, urls, REQUEST_ID), "POST", 201)


def _tus_js_gone(session: Session) -> None:
    session.expect(session.ask("DELETE", session.upload), "DELETE", 204)
    session.expect(session.ask("HEAD", session.upload), "HEAD", GONE, lacks=("Upload-Offset",))
    session.append(session.create(), 0, DATA)


def _tuspy(session: Session) -> None:
    url = session.create(LENGTH | {"upload-metadata": ""})
    session.append(url, 0, DATA[:300])
    session.append(url, 300, DATA[300:], {"Upload-Checksum": RIGHT})
    session.expect_offset(url, 1000)


def _aiotus(session: Session) -> None:
    partial = {"Upload-Concat": "partial"}
    empty = {"Content-Type": "application/octet-stream", "Content-Length": "0"}
    urls = []
    for start, end in ((0, 600), (600, 1000)):
        url = session.create({"Upload-Length": str(end - start)} | partial | empty)
        session.expect(session.ask("HEAD", url, partial), "HEAD", FOUND, {"Upload-Offset": "0"})
        session.append(url, 0, DATA[start:end], partial)
        urls.append(urlsplit(url).path)
    session.expect(final(session, urls), "POST", 201)


def _uppy(session: Session) -> None:
    value = metadata(relativePath="null", name="x.mp4", type="video/mp4", filename="x.mp4", filetype="video/mp4")
    url = session.create(LENGTH | {"Upload-Metadata": value})
    session.append(url, 0, DATA)
    session.expect(session.head(url), "HEAD", FOUND, {"Upload-Metadata": value, "Upload-Offset": "1000"})


def _resumed(session: Session) -> None:
    """A client that was started anew knows the URL and nothing else."""
    offset = session.offset(session.upload)
    length = session.head(session.upload).headers.get("upload-length")
    if length != "1000":
        raise FailedError("HEAD: no Upload-Length to go on with")
    session.append(session.upload, offset, DATA[offset:])


CASES = (
    Case("tuskit-heals", "rule 3", "TUSKit sends a chunk again, learns the offset from the 409 and resumes",
         needs=("creation",), check=_tuskit),
    Case("tuskit-heals-at-the-end", "rule 3", "TUSKit sends the last chunk again; 409 has the end", (),
         Given(have=400), check=_tuskit_last),
    Case("tus-js-resumed", "rule 4", "tus-js-client asks HEAD for offset and length and sends the rest", (),
         Given(have=300), check=_resumed),
    Case("tus-js-request-id", "tus 1.0.0, PATCH", "tus-js-client numbers its requests",
         (Ask("POST", 201, LENGTH | REQUEST_ID, to="mount"),
          Ask("PATCH", 204, {"Upload-Offset": "300"} | REQUEST_ID, DATA[300:]), still(1000)), Given(have=300)),
    Case("tus-js-override", "rule 10", "tus-js-client sends PATCH as POST, from first to last",
         (Ask("POST", 204, {"X-HTTP-Method-Override": "PATCH", "Content-Type": OCTETS, "Upload-Offset": "0"},
              DATA[:500], has={"Upload-Offset": "500"}),
          Ask("POST", 204, {"X-HTTP-Method-Override": "PATCH", "Content-Type": OCTETS, "Upload-Offset": "500"},
              DATA[500:], has={"Upload-Offset": "1000"})), Given()),
    Case("tus-js-parallel", "rule 9", "tus-js-client sends two parts and joins them by their URLs",
         needs=("concatenation",), check=_tus_js_parallel),
    Case("tus-js-gone", "rule 4", "tus-js-client finds its upload removed, and creates a new one", (), Given(have=300),
         ("termination",), _tus_js_gone),
    Case("tuspy", "rule 12", "tuspy sends empty metadata in lower case, and a sha1 with each chunk",
         needs=("checksum",), check=_tuspy),
    Case("aiotus-parallel", "rule 9", "aiotus sends parts with a foreign type and joins them by paths",
         needs=("concatenation",), check=_aiotus),
    Case("uppy-metadata", "rule 6", "Uppy sends what it knows of a file", needs=("creation",), check=_uppy),
    Case("curl-form-type", "rule 2", "a PATCH by `curl -d` declares a form, and is refused unread",
         (Ask("PATCH", REFUSED, {"Upload-Offset": "300", "Content-Type": "application/x-www-form-urlencoded"},
              DATA[300:]), still(300)), Given(have=300)),
)  # fmt: skip
