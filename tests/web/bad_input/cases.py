"""Requests that nobody should send, as a table: what they are, and the refusal that each must get.

Rule: a case changes nothing on the server, so all of them share one upload, whose id stands for `{id}`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.harness.http import pairs, request
from tests.tus.client import MOUNT, OCTETS, VERSION, creation, patch_headers

LENGTH, HAVE = 1000, 300
FORM = "/api/upload/videos"
FRAMING = "framing"  # the parser's own refusal: one sentence without a code
NOT_FOUND = "upload_not_found"
KIB, MIB = 1 << 10, 1 << 20
ID = "{id}"


@dataclass(frozen=True)
class Case:
    """One request, byte for byte. `portable` is the answer there, if it is another one than ours."""

    name: str
    data: bytes
    status: int
    code: str
    portable: tuple[int, str] | None = None

    def bytes_for(self, upload: str) -> bytes:
        """What to send when that is the upload."""
        return self.data.replace(ID.encode(), upload.encode())

    def expected(self, http: str) -> tuple[int, str]:
        """Status and code."""
        return self.portable if http == "portable" and self.portable else (self.status, self.code)

    @property
    def has_no_text(self) -> bool:
        """Whether the answer is to HEAD."""
        return self.data.startswith(b"HEAD ")


@dataclass(frozen=True)
class Header:
    """A header with a good value, where it belongs, and what a bad one is answered with."""

    name: str
    good: str
    method: str
    status: int
    code: str
    missing: str = ""  # the code when it is not there; empty where it need not be


HEADERS = (
    Header("Upload-Length", "1000", "POST", 400, "header_invalid", missing="header_missing"),
    Header("Upload-Offset", "300", "PATCH", 400, "header_invalid", missing="header_missing"),
    Header("Upload-Defer-Length", "1", "POST", 400, "header_invalid"),
    Header("Upload-Metadata", "filename Y2xpcC5tcDQ=", "POST", 400, "metadata_invalid"),
    Header("Upload-Concat", "partial", "POST", 400, "header_invalid"),
    Header("Upload-Checksum", "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "PATCH", 400, "header_invalid"),
    Header("Tus-Resumable", "1.0.0", "POST", 412, "version_unsupported", missing="version_unsupported"),
    Header("Content-Type", OCTETS, "PATCH", 415, "content_type_unsupported", missing="content_type_unsupported"),
    Header("X-HTTP-Method-Override", "PATCH", "POST", 400, "header_invalid"),
)


def latin(text: str) -> str:
    """UTF-8 as it looks to who reads bytes one by one."""
    return text.encode().decode("latin-1")


# What a value becomes; `{}` is a good one.
SPOILED = {
    "beyond ASCII": "\xe9",
    "beyond Latin-1": latin("视频"),
    "10 KB": "\xe9" * 10 * KIB,
    "a list of two": "{}, {}",
    "in quotes": '"{}"',
    "behind a no-break space": "\xa0{}",
    "before a no-break space": "{}\xa0",
}
NUMBERS = {
    "negative": "-1",
    "with a plus": "+1",
    "minus zero": "-0",
    "a fraction": "1.5",
    "an exponent": "1e3",
    "hexadecimal": "0x10",
    "with an underscore": "1_000",
    "with a blank": "1 000",
    "with a point": "1.000",
    "empty": "",
    "a word": "many",
    "superscript": "\xb2",
    "full width": latin("５"),
    "Arabic": latin("٣"),
    "2^63": str(1 << 63),
    "2^64": str(1 << 64),
    "10^30": str(10**30),
    "10 KB of digits": "1" * 10 * KIB,
    "zeros before it": "0" * 20 + "5",
    "percent-encoded": "%31",
}
ODD_IDS = {
    "dots": "..",
    "encoded dots": "%2e%2e",
    "an encoded dot": "%2e",
    "a dot": ".",
    "NUL": "%00",
    "an id and NUL": f"{ID}%00",
    "a line feed": "%0a",
    "an id and a line feed": f"{ID}%0a",
    "an id and two lines": f"{ID}%0d%0a{ID}",
    "an id and a suffix": f"{ID}.lock",
    "a way around": f"x/../{ID}",
    "an encoded way around": f"..%2ffiles%2f{ID}",
    "up to the database": "..%2f..%2fvideodock.db",
    "up to the root": "%2e%2e/" * 9 + "etc/passwd",
    "backslashes": "..\\..\\videodock.db",
    "an overlong dot": "%c0%ae%c0%ae",
    "no UTF-8": "%ff%fe",
    "a half escape": "%2",
    "10 KB": "a" * 10 * KIB,
    "10 KB of dots": "%2e" * (10 * KIB // 3),
}
ID_ROUTES = {
    "HEAD": ("HEAD", f"{MOUNT}/", NOT_FOUND),
    "PATCH": ("PATCH", f"{MOUNT}/", NOT_FOUND),
    "DELETE": ("DELETE", f"{MOUNT}/", NOT_FOUND),
    "GET": ("GET", f"{MOUNT}/", NOT_FOUND),
    "status": ("GET", "/api/task/status/", "task_not_found"),
    "cancel": ("POST", "/api/task/cancel/", "task_not_found"),
}
BAD_CONCATS = {
    "nothing": "",
    "no list": "final",
    "an empty list": "final;",
    "dots": "final;/files/..",
    "no id": "final;/files/clip.mp4",
    "a comma": f"final;/files/{ID},/files/{ID}",
    "an id and NUL": f"final;/files/{ID}%00",
    "a slash at its end": f"final;/files/{ID}/",
    "1,001 parts": "final;" + f"/{ID} " * 1001,
    "another word": "whole",
    "another case": "Partial",
}
BAD_METADATA = {
    "no base64": "filename ***",
    "half a byte": "filename Y",
    "a key twice": "name YQ==,name YQ==",
    "a key twice without values": "name,name",
    "no key": "filename YQ==,,a",
    "a comma at the end": "filename YQ==,",
    "two values": "filename YQ== YQ==",
    "10,000 keys": ",".join(f"k{number}" for number in range(10_000)),
}
FORM_TYPE = "multipart/form-data; boundary=b"
BAD_FORMS = {
    "no boundary": ("multipart/form-data", b"--b--\r\n"),
    "an empty boundary": ("multipart/form-data; boundary=", b"--b--\r\n"),
    "a boundary of 10 KB": ("multipart/form-data; boundary=" + "b" * 10 * KIB, b"--b--\r\n"),
    "a boundary beyond ASCII": ("multipart/form-data; boundary=\xe9", b"--b--\r\n"),
    "no form": ("application/json", b"{}"),
    "nonsense": (FORM_TYPE, b"nonsense"),
    "a preamble": (FORM_TYPE, b"\r\npreamble--b--\r\n"),
    "another boundary": (FORM_TYPE, b"--c\r\n\r\n\r\n--c--\r\n"),
    "no end": (FORM_TYPE, b"--b\r\n\r\n"),
    "a part header of 1 MB": (FORM_TYPE, b"--b\r\nA: " + b"b" * MIB + b"\r\n\r\n\r\n--b--\r\n"),
    "10,000 part headers": (
        "multipart/form-data; boundary=b",
        b"--b\r\n" + b"A: b\r\n" * 10_000 + b"\r\n\r\n--b--\r\n",
    ),
    "10,000 parts": (FORM_TYPE, b"--b\r\nA: b\r\n\r\n\r\n" * 10_000 + b"--b--\r\n"),
}
CONTENT_LENGTHS = {**NUMBERS, "a list": "7, 7", "beyond ASCII": "\xe9", "1 MB of digits": "1" * MIB}
# What llhttp takes, since it counts up to 2^64 and reads over zeros; the rest of the table it refuses.
READ_LENGTHS = {"2^63": (400, "header_invalid"), "zeros before it": (400, "header_invalid")}


def build(method: str, target: str, headers: list[tuple[str, str]], body: bytes | None = None) -> bytes:
    """A request with the headers of a good one, but for those that are given; an empty name leaves one out."""
    good = (
        creation(LENGTH) if method == "POST" else patch_headers(HAVE) | {"Content-Length": "0"} if method == "PATCH"
        else VERSION
    )  # fmt: skip
    named = {name.lower() for name, _ in headers}
    kept = [(name, value) for name, value in pairs(good) if name.lower() not in named]
    return request(method, target, [*kept, *((name, value) for name, value in headers if value is not MISSING)], body)


MISSING = "(missing)"


def target_of(method: str) -> str:
    """Where a method belongs."""
    return MOUNT if method == "POST" else f"{MOUNT}/{ID}"


def headers() -> Iterator[Case]:
    """Every header: spoiled, twice, folded, with NUL, of 1 MB, missing."""
    for header in HEADERS:
        method, where = header.method, target_of(header.method)

        def case(
            kind: str, values: list[str], status: int, code: str, portable: tuple[int, str] | None = None,
            header: Header = header, method: str = method, where: str = where,
        ) -> Case:  # fmt: skip
            data = build(method, where, [(header.name, value) for value in values])
            return Case(f"{header.name}, {kind}", data, status, code, portable)

        for kind, form in SPOILED.items():
            yield case(kind, [form.replace("{}", header.good)], header.status, header.code)
        yield case("twice", [header.good, header.good], 400, "header_invalid")
        yield case("twice and different", [header.good, "2"], 400, "header_invalid")
        yield case("folded", [f"{header.good}\r\n {header.good}"], 400, FRAMING)
        yield case("folded by a tab", [f"\r\n\t{header.good}"], 400, FRAMING)
        yield case("with NUL", [f"{header.good}\0"], 400, FRAMING)
        yield case("with a bare line feed", [f"{header.good}\nX: y"], 400, FRAMING)
        yield case("1 MB", ["\xe9" * MIB], 431, "head_too_large", (header.status, header.code))
        if header.missing:
            yield case("missing", [MISSING], header.status, header.missing)


def numbers() -> Iterator[Case]:
    """Lengths and offsets that are none."""
    for kind, text in NUMBERS.items():
        for name, method in (("Upload-Length", "POST"), ("Upload-Offset", "PATCH"), ("Upload-Length", "PATCH")):
            data = build(method, target_of(method), [(name, text)])
            yield Case(f"{name} of {method}, {kind}", data, 400, "header_invalid")
    for kind, text in {"0": "0", "2": "2", "true": "true", "empty": ""}.items():
        data = build("POST", MOUNT, [("Upload-Length", MISSING), ("Upload-Defer-Length", text)])
        yield Case(f"Upload-Defer-Length, {kind}", data, 400, "header_invalid")
    yield Case("larger than may be", build("POST", MOUNT, [("Upload-Length", str(2**63 - 1))]), 413, "upload_too_large")


def lengths() -> Iterator[Case]:
    """Content-Length that is none, or not the truth."""
    for method in ("PATCH", "POST"):
        for kind, text in CONTENT_LENGTHS.items():
            data = build(method, target_of(method), [("Content-Type", OCTETS), ("Content-Length", text)])
            status, code = READ_LENGTHS.get(kind, (400, FRAMING))
            yield Case(f"Content-Length of {method}, {kind}", data, status, code)
        for kind, values in {"twice": ["7", "7"], "twice and different": ["7", "8"], "folded": ["7\r\n 8"]}.items():
            data = build(method, target_of(method), [("Content-Length", value) for value in values])
            yield Case(f"Content-Length of {method}, {kind}", data, 400, FRAMING)
        data = build(method, target_of(method), [("Content-Type", OCTETS), ("Content-Length", str(2**63 - 1))])
        yield Case(f"Content-Length of {method}, 2^63 - 1", data, 413, "body_too_large")
    data = build("POST", MOUNT, [("Content-Type", OCTETS), ("Content-Length", "1001")], bytes(1001))
    yield Case("a body that is longer than the upload", data, 413, "body_too_large")


def words() -> Iterator[Case]:
    """Headers that have their form and say nothing."""
    for kind, text, code in (
        ("an unknown algorithm", "sha3 YQ==", "checksum_unsupported"),
        ("an algorithm of 10 KB", "a" * 10 * KIB + " YQ==", "header_invalid"),
        ("no digest", "sha1", "header_invalid"),
        ("an empty digest", "sha1 ", "header_invalid"),
        ("no base64", "sha1 ***", "header_invalid"),
        ("no algorithm", " YQ==", "header_invalid"),
    ):
        data = build("PATCH", f"{MOUNT}/{ID}", [("Upload-Checksum", text)])
        yield Case(f"Upload-Checksum, {kind}", data, 400, code)
    for kind, text in {"unknown": "BREW", "of another place": "DELETE"}.items():
        data = build("POST", MOUNT, [("X-HTTP-Method-Override", text)])
        yield Case(f"X-HTTP-Method-Override, {kind}", data, 405, "method_not_allowed")
    for kind, text in BAD_CONCATS.items():
        data = build("POST", MOUNT, [("Upload-Length", MISSING), ("Upload-Concat", text)])
        yield Case(f"Upload-Concat, {kind}", data, 400, "header_invalid")
    for kind, part in {"an unknown part": "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11", "no partial upload": ID}.items():
        data = build("POST", MOUNT, [("Upload-Length", MISSING), ("Upload-Concat", f"final;/files/{part}")])
        yield Case(f"Upload-Concat, {kind}", data, 400, "part_invalid")
    for kind, text in BAD_METADATA.items():
        no_video = kind == "a name that is no video"
        code = "media_type_unsupported" if no_video else "metadata_invalid"
        yield Case(
            f"Upload-Metadata, {kind}",
            build("POST", MOUNT, [("Upload-Metadata", text)]),
            415 if no_video else 400,
            code,
        )


def ids() -> Iterator[Case]:
    """What is no id, on every route that takes one."""
    for route, (method, where, code) in ID_ROUTES.items():
        for kind, text in ODD_IDS.items():
            headers = [("Upload-Length", MISSING), ("Upload-Metadata", MISSING)]
            yield Case(f"id of {route}, {kind}", build(method, where + text, headers), 404, code)


def forms() -> Iterator[Case]:
    """Forms that are none."""
    for kind, (content_type, body) in BAD_FORMS.items():
        data = request("POST", FORM, {"Content-Type": content_type}, body)
        yield Case(f"form, {kind}", data, 400, "multipart_invalid")


def heads() -> Iterator[Case]:
    """Heads that are too much."""
    stale = build("PATCH", f"{MOUNT}/{ID}", [("Upload-Offset", "7"), ("X-Large", "a" * MIB)])
    yield Case("a header of 1 MB", stale, 431, "head_too_large", (409, "offset_mismatch"))
    many = build("POST", MOUNT, [("Upload-Length", MISSING), *[("a", "")] * 100_000])
    yield Case("100,000 headers", many, 431, "head_too_large", (400, "header_missing"))
    name = build("POST", MOUNT, [("Upload-Length", MISSING), ("a" * MIB, "b")])
    yield Case("a header name of 1 MB", name, 431, "head_too_large", (400, "header_missing"))
    target = build("GET", f"{MOUNT}/" + "a" * MIB, [])
    yield Case("a target of 1 MB", target, 431, "head_too_large", (400, FRAMING))


CASES = tuple(case for table in (headers, numbers, lengths, words, ids, forms, heads) for case in table())
