"""Creation, creation with upload, deferred lengths and expiration."""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from tests.conformance.case import FOUND, REFUSED, Ask, Case, Given, still
from tests.conformance.session import (
    DATA,
    NAMED,
    OCTETS,
    FailedError,
    NotOfferedError,
    Session,
    metadata,
)
from tests.conformance.wire import chunked

CREATION = ("creation",)
WITH_UPLOAD = ("creation-with-upload",)
DEFERRED = ("creation-defer-length",)
EXPIRATION = ("expiration",)
LENGTH = {"Upload-Length": "1000"}
UPLOAD = LENGTH | {"Content-Type": OCTETS}
CHUNKED = {"Transfer-Encoding": "chunked"}
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
IMF_FIXDATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} "
    r"\d\d:\d\d:\d\d GMT"
)


def _created(session: Session) -> None:
    session.expect_offset(session.create(), 0)


def _absolute(session: Session) -> None:
    for host in ("videos.example", "videos.example:8443"):
        answer = session.ask("POST", session.mount, LENGTH | {"Host": host})
        session.expect(answer, "POST", 201, {"Location": re.compile(rf"https?://{re.escape(host)}/.*")})


def _distinct(session: Session) -> None:
    urls = [session.create() for _ in range(5)]
    if len(set(urls)) != len(urls):
        raise FailedError("POST: one Location came twice")


def _ids(session: Session) -> None:
    found = session.create().rpartition("/")[2]
    if not UUID4.fullmatch(found):
        raise NotOfferedError("ids are of another form")


def _too_large(session: Session) -> None:
    limit = (session.target.options or {}).get("tus-max-size")
    if limit is None:
        raise NotOfferedError("no Tus-Max-Size")
    if not limit.isdigit():
        raise FailedError("OPTIONS: Tus-Max-Size is no number")
    session.expect(session.ask("POST", session.mount, {"Upload-Length": str(int(limit) + 1)}), "POST", 413)


def _empty(session: Session) -> None:
    answer = session.ask("POST", session.mount, {"Upload-Length": "0"})
    if "types" in session.target.offers and answer.status in REFUSED:
        session.expect(answer, "POST", REFUSED, lacks=("Upload-Offset",))
        return
    session.expect_offset(session.created(answer), 0)


def _echoed(value: str, shows: str, name: str, rule: str = "tus 1.0.0, Upload-Metadata; rule 6") -> Case:
    def check(session: Session) -> None:
        url = session.create(LENGTH | {"Upload-Metadata": value})
        session.expect(session.head(url), "HEAD", FOUND, {"Upload-Metadata": value})

    return Case(f"metadata-{name}", rule, shows, needs=CREATION, check=check)


def _tolerated(name: str, headers: dict[str, str | None], shows: str) -> Case:
    def check(session: Session) -> None:
        session.expect_offset(session.create(LENGTH | headers), 0)

    return Case(name, "rule 6", shows, needs=CREATION, check=check)


def _refused(
    name: str, headers: Mapping[str, str | None], shows: str, rule: str, status: int | range = REFUSED
) -> Case:
    ask = Ask("POST", status, headers, to="mount", lacks=("Location",))
    return Case(name, rule, shows, (ask,), needs=CREATION)


# With upload


def _whole(session: Session) -> None:
    answer = session.ask("POST", session.mount, UPLOAD, DATA)
    url = session.created(answer)
    session.expect(answer, "POST", 201, {"Upload-Offset": "1000"})
    session.expect_offset(url, 1000)


def _half(session: Session) -> None:
    answer = session.ask("POST", session.mount, UPLOAD, DATA[:300])
    url = session.created(answer)
    session.expect(answer, "POST", 201, {"Upload-Offset": "300"})
    session.append(url, 300, DATA[300:])
    session.expect_offset(url, 1000)


def _foreign_type(session: Session) -> None:
    answer = session.ask("POST", session.mount, LENGTH | {"Content-Type": "video/mp4"}, DATA)
    if answer.status not in REFUSED:
        session.expect_offset(session.created(answer), 0)


def _over_long(session: Session) -> None:
    answer = session.ask("POST", session.mount, {"Upload-Length": "999", "Content-Type": OCTETS}, DATA)
    session.expect(answer, "POST", REFUSED, lacks=("Upload-Offset",))


def _deferred_with_upload(session: Session) -> None:
    headers = {"Upload-Defer-Length": "1", "Content-Type": OCTETS}
    url = session.created(session.ask("POST", session.mount, headers, DATA[:300]))
    session.append(url, 300, DATA[300:], LENGTH)
    session.expect(session.head(url), "HEAD", FOUND, {"Upload-Offset": "1000", "Upload-Length": "1000"})


# Expiration


def _expires(session: Session) -> None:
    answer = session.ask("POST", session.mount, LENGTH)
    url = session.created(answer)
    _check_date(session, "POST", answer.headers.get("upload-expires"))
    _check_date(session, "PATCH", session.append(url, 0, DATA[:300]).headers.get("upload-expires"))


def _check_date(session: Session, what: str, value: str | None) -> None:
    if value is None:
        raise FailedError(f"{what}: no Upload-Expires came")
    date = session.head(session.create()).headers.get("date")
    if date and parsedate_to_datetime(value) <= parsedate_to_datetime(date):
        raise FailedError(f"{what}: Upload-Expires is not in the future")


CASES_CREATION = (
    Case("create", "tus 1.0.0, POST", "POST is 201 with the Location of an empty upload", needs=CREATION,
         check=_created),
    Case("create-distinct", "tus 1.0.0, POST", "each POST makes another upload", needs=CREATION, check=_distinct),
    Case("create-201", "rule 7", "POST is exactly 201", (Ask("POST", 201, LENGTH, to="mount"),), needs=CREATION),
    Case("create-location", "rule 1", "Location is absolute, with the host of the request", needs=CREATION,
         check=_absolute),
    Case("create-id", "rule 19", "an id is a UUID of version 4, in lower case with hyphens", needs=CREATION,
         check=_ids),
    Case("create-empty", "tus 1.0.0, POST; rule 17",
         "an upload of no bytes is made, or refused by a server that checks types", needs=CREATION, check=_empty),
    Case("create-too-large", "tus 1.0.0, POST", "more than Tus-Max-Size is 413", needs=CREATION, check=_too_large),
    _refused("create-no-length", {}, "POST without a length is refused", "tus 1.0.0, POST"),
    _refused("create-length-negative", {"Upload-Length": "-1"}, "a negative length is refused", "tus 1.0.0, POST"),
    _refused("create-length-no-number", {"Upload-Length": "1e3"}, "a length that is not a number is refused",
             "tus 1.0.0, POST"),
    _refused("create-length-huge", {"Upload-Length": "9" * 30}, "a length of 30 digits is refused", "rule 2"),
    _echoed(NAMED, "HEAD echoes Upload-Metadata unchanged", "echo"),
    _echoed(metadata(filename="x.mp4", relativePath="Ä/假期/x.mp4", filetype="video/mp4"),
            "HEAD echoes keys that the server does not know, and texts beyond ASCII", "foreign-keys"),
    _echoed(NAMED + ",is_public", "HEAD echoes a key without a value", "no-value"),
    _tolerated("metadata-empty", {"Upload-Metadata": ""}, "empty Upload-Metadata is accepted"),
    _tolerated("metadata-none", {"Upload-Metadata": None}, "a missing Upload-Metadata is accepted, by HEAD too"),
    _tolerated("metadata-name-only", {"Upload-Metadata": metadata(filename="x.mp4")},
               "a file name without a type is accepted, by HEAD too"),
    _tolerated("metadata-empty-value", {"Upload-Metadata": NAMED + ",note "}, "a key with an empty value is accepted"),
    _tolerated("create-foreign-type", {"Content-Type": "application/octet-stream", "Content-Length": "0"},
               "a foreign Content-Type without a body is accepted"),
    Case("create-empty-chunked", "rule 6", "so is one of a chunked body without a byte",
         (Ask("POST", 201, LENGTH | {"Content-Type": "application/octet-stream"} | CHUNKED, chunked([]), to="mount"),),
         needs=CREATION),
    _refused("metadata-no-base64", LENGTH | {"Upload-Metadata": "filename x.mp4!"},
             "a value that is not base64 is 400", "rule 6", 400),
)  # fmt: skip

CASES_WITH_UPLOAD = (
    Case("create-with-all", "tus 1.0.0, Creation With Upload", "POST with every byte makes a complete upload",
         needs=WITH_UPLOAD, check=_whole),
    Case("create-with-some", "tus 1.0.0, Creation With Upload", "POST with some bytes; PATCH sends the rest",
         needs=WITH_UPLOAD, check=_half),
    Case("create-with-foreign-type", "tus 1.0.0, Creation With Upload",
         "a body of another Content-Type is refused or ignored", needs=WITH_UPLOAD, check=_foreign_type),
    Case("create-compressed", "RFC 9110, section 8.4", "a body with a Content-Encoding is refused",
         (Ask("POST", REFUSED, UPLOAD | {"Content-Encoding": "gzip"}, DATA[:300], to="mount"),), needs=WITH_UPLOAD),
    Case("create-with-too-much", "rule 2", "a body that is longer than the upload is refused", needs=WITH_UPLOAD,
         check=_over_long),
    Case("create-with-some-deferred", "tus 1.0.0, Creation With Upload", "bytes with POST while the length is deferred",
         needs=WITH_UPLOAD + DEFERRED, check=_deferred_with_upload),
)  # fmt: skip

OPEN_END = Given(length=None, have=300)
TOLD = LENGTH | {"Upload-Offset": "300"}

CASES_DEFERRED = (
    Case("defer-create", "tus 1.0.0, Upload-Defer-Length", "POST with a deferred length is 201",
         (Ask("POST", 201, {"Upload-Defer-Length": "1"}, to="mount"),), needs=DEFERRED),
    Case("defer-create-offset", "rule 7", "its answer has the offset, where tus-js-client goes on",
         (Ask("POST", 201, {"Upload-Defer-Length": "1"}, to="mount", has={"Upload-Offset": "0"}),), needs=DEFERRED),
    Case("defer-head", "tus 1.0.0, Upload-Defer-Length; rule 4",
         "HEAD says that the length is deferred, and has no length",
         (Ask("HEAD", FOUND, has={"Upload-Defer-Length": "1", "Upload-Offset": "300"}, lacks=("Upload-Length",)),),
         OPEN_END, DEFERRED),
    Case("defer-told", "tus 1.0.0, Upload-Defer-Length", "a PATCH sets the length; HEAD has it from then on",
         (Ask("PATCH", 204, TOLD, DATA[300:400], has={"Upload-Offset": "400"}),
          Ask("HEAD", FOUND, has={"Upload-Length": "1000", "Upload-Offset": "400"}, lacks=("Upload-Defer-Length",))),
         OPEN_END, DEFERRED),
    Case("defer-told-last", "tus 1.0.0, Upload-Defer-Length", "the last PATCH sets the length and completes the upload",
         (Ask("PATCH", 204, TOLD, DATA[300:]),
          Ask("HEAD", FOUND, has={"Upload-Length": "1000", "Upload-Offset": "1000"})), OPEN_END, DEFERRED),
    Case("defer-told-empty", "tus 1.0.0, Upload-Defer-Length", "an empty PATCH sets the length, as a stream ends",
         (Ask("PATCH", 204, {"Upload-Offset": "300", "Upload-Length": "300"}, b""),
          Ask("HEAD", FOUND, has={"Upload-Length": "300", "Upload-Offset": "300"})), OPEN_END, DEFERRED),
    Case("defer-told-short", "tus 1.0.0, Upload-Defer-Length", "a length below the offset is refused",
         (Ask("PATCH", REFUSED, {"Upload-Offset": "300", "Upload-Length": "299"}, b""), still(300)), OPEN_END,
         DEFERRED),
    Case("defer-told-twice", "tus 1.0.0, Upload-Defer-Length", "a length that was set is not changed",
         (Ask("PATCH", 204, TOLD, DATA[300:400]),
          Ask("PATCH", {204, *REFUSED}, {"Upload-Offset": "400", "Upload-Length": "2000"}, DATA[400:500]),
          Ask("HEAD", FOUND, has={"Upload-Length": "1000"})), OPEN_END, DEFERRED),
    _refused("defer-not-1", {"Upload-Defer-Length": "2"}, "Upload-Defer-Length can only be 1",
             "tus 1.0.0, Upload-Defer-Length"),
    _refused("defer-and-length", LENGTH | {"Upload-Defer-Length": "1"}, "a length and a deferred one are refused",
             "rule 2"),
)  # fmt: skip

CASES_EXPIRATION = (
    Case("expires", "tus 1.0.0, Upload-Expires", "POST and PATCH say when the upload expires, in the future",
         needs=EXPIRATION, check=_expires),
    Case("expires-form", "tus 1.0.0, Upload-Expires; rule 16", "Upload-Expires is an IMF-fixdate",
         (Ask("POST", 201, LENGTH, to="mount", has={"Upload-Expires": IMF_FIXDATE}),
          Ask("PATCH", 204, {"Upload-Offset": "0"}, DATA[:300], has={"Upload-Expires": IMF_FIXDATE})),
         Given(), EXPIRATION),
)  # fmt: skip
