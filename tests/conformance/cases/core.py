"""The core protocol: OPTIONS, HEAD, PATCH and the version."""

import gzip
import re

from tests.conformance.case import FOUND, GONE, REFUSED, Ask, Case, Given, still
from tests.conformance.session import DATA, OCTETS, FailedError, Session
from tests.conformance.wire import chunked

HALF = Given(have=300)
CHUNKED = {"Transfer-Encoding": "chunked"}
NOTHING = chunked([])
REST = DATA[300:]
UNKNOWN = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"


def _options_on_upload(session: Session) -> None:
    answer = session.ask("OPTIONS", session.upload)
    session.expect(answer, "OPTIONS", 204, {"Tus-Version": re.compile(r"(.*,)?1\.0\.0(,.*)?")})


def _lists_without_spaces(session: Session) -> None:
    answer = session.ask("OPTIONS", session.mount)
    for name, value in answer.headers.items():
        if name in ("tus-version", "tus-extension", "tus-checksum-algorithm") and " " in value:
            raise FailedError(f"OPTIONS: a space in {name}: {value!r}")


def _three_pieces(session: Session) -> None:
    for start, end in ((0, 1), (1, 999), (999, 1000)):
        session.append(session.upload, start, DATA[start:end])
    session.expect_offset(session.upload, 1000)


def _one_mebibyte(session: Session) -> None:
    size = 1 << 20
    url = session.create({"Upload-Length": str(size)})
    session.append(url, 0, DATA + bytes(size - len(DATA)))
    session.expect_offset(url, size)


def _too_long(session: Session) -> None:
    answer = session.patch(session.upload, 300, REST + b"x")
    session.expect(answer, "PATCH", REFUSED)
    session.expect_offset(session.upload, 300)


def _complete(session: Session) -> None:
    answer = session.patch(session.upload, 1000, b"more")
    session.expect(answer, "PATCH", REFUSED)
    session.expect_offset(session.upload, 1000)


def _foreign_version(method: str, body: bytes | None = None) -> Case:
    headers: dict[str, str | None] = {"Tus-Resumable": "0.2.2"}
    headers |= {"Upload-Offset": "300"} if method == "PATCH" else {"Upload-Length": "1000"} if method == "POST" else {}
    ask = Ask(method, 412, headers, body, to="mount" if method == "POST" else "", has={"Tus-Version": _VERSIONS})
    return Case(
        f"version-foreign-{method.lower()}",
        "tus 1.0.0, Tus-Resumable",
        f"{method} in a version that is not offered is 412 with Tus-Version, and changes nothing",
        (ask, still(300)),
        HALF,
    )


def _bad_offset(name: str, value: str | None, shows: str) -> Case:
    return Case(
        f"patch-offset-{name}",
        "tus 1.0.0, Upload-Offset",
        f"PATCH {shows} is refused and changes nothing",
        (Ask("PATCH", REFUSED, {"Upload-Offset": value}, REST), still(300)),
        HALF,
    )


_VERSIONS = re.compile(r".*\b1\.0\.0\b.*")

CASES = (
    Case(
        "options",
        "tus 1.0.0, OPTIONS",
        "OPTIONS is 200 or 204 with Tus-Version",
        (Ask("OPTIONS", FOUND, to="mount", has={"Tus-Version": _VERSIONS}),),
    ),
    Case(
        "options-ignores-version",
        "tus 1.0.0, Tus-Resumable",
        "OPTIONS is answered with any Tus-Resumable",
        (Ask("OPTIONS", FOUND, {"Tus-Resumable": "0.2.2"}, to="mount", has={"Tus-Version": _VERSIONS}),),
    ),
    Case(
        "options-204",
        "rule 7",
        "OPTIONS is exactly 204, without Tus-Resumable",
        (Ask("OPTIONS", 204, to="mount"),),
    ),
    Case(
        "options-on-upload",
        "rule 7",
        "OPTIONS on an upload is 204 with Tus-Version",
        (),
        HALF,
        check=_options_on_upload,
    ),
    Case("lists-without-spaces", "rule 5", "no list in Tus-* has a space", check=_lists_without_spaces),
    Case(
        "head-new",
        "tus 1.0.0, HEAD",
        "HEAD of a new upload has offset 0 and the length",
        (Ask("HEAD", FOUND, has={"Upload-Offset": "0", "Upload-Length": "1000"}),),
        Given(),
    ),
    Case(
        "head-half",
        "tus 1.0.0, HEAD",
        "HEAD has the number of bytes that have arrived",
        (Ask("HEAD", FOUND, has={"Upload-Offset": "300", "Upload-Length": "1000"}),),
        HALF,
    ),
    Case("head-twice", "tus 1.0.0, HEAD", "HEAD changes nothing", (still(300), still(300)), HALF),
    Case(
        "head-no-store",
        "tus 1.0.0, HEAD",
        "the answer to HEAD must not be cached",
        (Ask("HEAD", FOUND, has={"Cache-Control": re.compile(r".*\bno-store\b.*")}),),
        HALF,
    ),
    Case(
        "head-complete",
        "rule 4",
        "HEAD of a complete upload has offset and length",
        (Ask("HEAD", FOUND, has={"Upload-Offset": "1000", "Upload-Length": "1000"}),),
        Given(have=1000),
    ),
    Case(
        "head-unknown",
        "tus 1.0.0, HEAD",
        "HEAD of an unknown upload is 403, 404 or 410 without an offset",
        (Ask("HEAD", (403, *GONE), to=UNKNOWN, lacks=("Upload-Offset",)),),
    ),
    Case(
        "head-unknown-404",
        "rule 4",
        "HEAD of an unknown upload is exactly 404",
        (Ask("HEAD", 404, to=UNKNOWN, lacks=("Upload-Offset",)),),
    ),
    Case(
        "version-in-answers",
        "tus 1.0.0, Tus-Resumable",
        "every answer has Tus-Resumable, refusals too",
        (
            Ask("HEAD", FOUND, has={"Tus-Resumable": "1.0.0"}),
            Ask("PATCH", 409, {"Upload-Offset": "7"}, b"x", has={"Tus-Resumable": "1.0.0"}),
            Ask("PATCH", 204, {"Upload-Offset": "300"}, REST, has={"Tus-Resumable": "1.0.0"}),
            Ask("HEAD", (403, *GONE), to=UNKNOWN, has={"Tus-Resumable": "1.0.0"}),
        ),
        HALF,
    ),
    _foreign_version("POST"),
    _foreign_version("HEAD"),
    _foreign_version("PATCH", REST),
    Case(
        "version-missing",
        "rule 2",
        "PATCH without Tus-Resumable is 412 and changes nothing",
        (Ask("PATCH", 412, {"Tus-Resumable": None, "Upload-Offset": "300"}, REST), still(300)),
        HALF,
    ),
    Case(
        "patch-whole",
        "tus 1.0.0, PATCH",
        "PATCH of everything is 204 with the new offset",
        (Ask("PATCH", 204, {"Upload-Offset": "0"}, DATA, has={"Upload-Offset": "1000"}), still(1000)),
        Given(),
    ),
    Case(
        "patch-pieces",
        "tus 1.0.0, PATCH",
        "three PATCH of unequal sizes make the upload",
        (),
        Given(),
        check=_three_pieces,
    ),
    Case("patch-mebibyte", "tus 1.0.0, PATCH", "a PATCH of 1 MiB arrives whole", check=_one_mebibyte),
    Case(
        "patch-empty",
        "tus 1.0.0, PATCH",
        "PATCH without a body is 204 and leaves the offset",
        (Ask("PATCH", 204, {"Upload-Offset": "300"}, b"", has={"Upload-Offset": "300"}), still(300)),
        HALF,
    ),
    Case(
        "patch-stale",
        "tus 1.0.0, PATCH",
        "an offset below the true one is 409 and changes nothing",
        (Ask("PATCH", 409, {"Upload-Offset": "0"}, DATA), still(300)),
        HALF,
    ),
    Case(
        "patch-ahead",
        "tus 1.0.0, PATCH",
        "an offset above the true one is 409 and changes nothing",
        (Ask("PATCH", 409, {"Upload-Offset": "301"}, REST[1:]), still(300)),
        HALF,
    ),
    Case(
        "patch-conflict-tells",
        "rule 3",
        "409 has the true offset",
        (Ask("PATCH", 409, {"Upload-Offset": "0"}, DATA, has={"Upload-Offset": "300"}),),
        HALF,
    ),
    Case(
        "patch-refusal-tells-nothing",
        "rule 3",
        "a refusal other than 409 has no offset",
        (
            Ask("PATCH", REFUSED, {"Upload-Offset": "300", "Tus-Resumable": "0.2.2"}, REST, lacks=("Upload-Offset",)),
            Ask(
                "PATCH", REFUSED, {"Upload-Offset": "300", "Content-Type": "video/mp4"}, REST, lacks=("Upload-Offset",)
            ),
            Ask("PATCH", REFUSED, {"Upload-Offset": "0"}, DATA, to=UNKNOWN, lacks=("Upload-Offset",)),
        ),
        HALF,
    ),
    _bad_offset("missing", None, "without Upload-Offset"),
    _bad_offset("negative", "-1", "with a negative Upload-Offset"),
    _bad_offset("no-number", "three", "with an Upload-Offset that is not a number"),
    _bad_offset("huge", "9223372036854775808", "with an Upload-Offset of 2^63"),
    Case(
        "patch-foreign-type",
        "tus 1.0.0, PATCH",
        "another Content-Type is 415",
        (Ask("PATCH", 415, {"Upload-Offset": "300", "Content-Type": "video/mp4"}, REST),),
        HALF,
    ),
    Case(
        "patch-foreign-type-changes-nothing",
        "rule 2",
        "a body of another Content-Type is not stored",
        (Ask("PATCH", REFUSED, {"Upload-Offset": "300", "Content-Type": "video/mp4"}, REST), still(300)),
        HALF,
    ),
    Case(
        "patch-no-type",
        "tus 1.0.0, PATCH",
        "no Content-Type is refused, and nothing is stored",
        (Ask("PATCH", REFUSED, {"Upload-Offset": "300", "Content-Type": None}, REST), still(300)),
        HALF,
    ),
    Case(
        "patch-unknown",
        "tus 1.0.0, PATCH",
        "PATCH on an unknown upload is 403, 404 or 410",
        (Ask("PATCH", (403, *GONE), {"Upload-Offset": "0"}, DATA, to=UNKNOWN),),
    ),
    Case(
        "patch-too-long", "rule 2", "a body that is longer than the upload is refused whole", (), HALF, check=_too_long
    ),
    Case("patch-complete", "rule 2", "a complete upload accepts no more bytes", (), Given(have=1000), check=_complete),
    Case(
        "patch-last-again",
        "rule 11",
        "the last PATCH again, at the end and without a body, is 204",
        (Ask("PATCH", 204, {"Upload-Offset": "1000", "Content-Length": "0"}, has={"Upload-Offset": "1000"}),),
        Given(have=1000),
    ),
    Case(
        "patch-last-again-chunked",
        "rule 11",
        "the same as a chunked body without a byte, as tus-java-client sends it",
        (Ask("PATCH", 204, {"Upload-Offset": "1000"} | CHUNKED, NOTHING, has={"Upload-Offset": "1000"}),),
        Given(have=1000),
    ),
    Case(
        "patch-complete-chunked",
        "rule 2",
        "a complete upload accepts no byte of a chunked body",
        (Ask("PATCH", REFUSED, {"Upload-Offset": "1000"} | CHUNKED, chunked([b"x"])), still(1000)),
        Given(have=1000),
    ),
    Case(
        "patch-empty-chunked",
        "rule 11",
        "a chunked body without a byte leaves the offset",
        (Ask("PATCH", 204, {"Upload-Offset": "300"} | CHUNKED, NOTHING, has={"Upload-Offset": "300"}), still(300)),
        HALF,
    ),
    Case(
        "patch-compressed",
        "RFC 9110, section 8.4",
        "a body with a Content-Encoding is refused, and nothing is stored",
        (Ask("PATCH", REFUSED, {"Upload-Offset": "300", "Content-Encoding": "gzip"}, gzip.compress(REST)), still(300)),
        HALF,
    ),
    Case(
        "patch-last-answered",
        "rule 8",
        "the last PATCH is answered within the time limit of a case, and all of it is there",
        (Ask("PATCH", 204, {"Upload-Offset": "300"}, REST, has={"Upload-Offset": "1000"}), still(1000)),
        HALF,
    ),
    Case(
        "override-patch",
        "tus 1.0.0, X-HTTP-Method-Override; rule 10",
        "POST that overrides its method with PATCH appends",
        (
            Ask(
                "POST",
                204,
                {"X-HTTP-Method-Override": "PATCH", "Content-Type": OCTETS, "Upload-Offset": "300"},
                REST,
                has={"Upload-Offset": "1000"},
            ),
            still(1000),
        ),
        HALF,
    ),
    Case(
        "override-head",
        "tus 1.0.0, X-HTTP-Method-Override",
        "POST that overrides its method with HEAD has the offset",
        (Ask("POST", FOUND, {"X-HTTP-Method-Override": "HEAD", "Content-Length": "0"}, has={"Upload-Offset": "300"}),),
        HALF,
    ),
    Case(
        "override-of-patch",
        "tus 1.0.0, X-HTTP-Method-Override",
        "PATCH that overrides its method with HEAD is a HEAD: its answer has the offset and nothing is stored",
        (
            Ask(
                "PATCH",
                FOUND,
                {"X-HTTP-Method-Override": "HEAD", "Upload-Offset": "300"},
                REST,
                has={"Upload-Offset": "300"},
            ),
            still(300),
        ),
        HALF,
    ),
    Case(
        "override-refused",
        "rule 10",
        "POST that overrides its method with PATCH is refused like one: 409, nothing changed",
        (
            Ask("POST", 409, {"X-HTTP-Method-Override": "PATCH", "Content-Type": OCTETS, "Upload-Offset": "0"}, DATA),
            still(300),
        ),
        HALF,
    ),
    Case(
        "get-needs-no-version",
        "rule 7",
        "GET without Tus-Resumable is not refused for it",
        (Ask("GET", {*range(200, 412), *range(413, 500)}),),
        HALF,
    ),
    Case(
        "names-in-lower-case",
        "RFC 9110, section 5.1",
        "names of headers are read in any case, `TUS-Resumable` of TUSKit too",
        (
            Ask("PATCH", 204, {"TUS-Resumable": "1.0.0", "upload-offset": "300", "content-type": OCTETS}, REST),
            still(1000),
        ),
        HALF,
    ),
)
