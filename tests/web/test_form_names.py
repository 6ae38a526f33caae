"""File names as HTTP libraries, browsers and mail-minded clients write them into a form."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server import filenames
from server.web import mime
from tests.harness.http import LiveServer
from tests.harness.multipart import PATH
from tests.tus.client import video
from tests.web.test_form_parser import cut_at, read

B = "b0undary"
NAME = "视频.mp4"
GOOD = video(1000)


def word(text: str, charset: str = "utf-8", how: str = "B") -> str:
    """An encoded word of RFC 2047."""
    raw = text.encode(charset)
    if how in "bB":
        return f"=?{charset}?{how}?{base64.b64encode(raw).decode()}?="
    return f"=?{charset}?{how}?{''.join(f'={byte:02X}' for byte in raw)}?="


def extended(text: str, charset: str = "UTF-8") -> str:
    """An ext-value of RFC 5987."""
    return f"{charset}''{quote(text.encode(charset))}"


# What follows `form-data; name="videos"; ` -> the name. Text is sent as UTF-8.
NAMES: dict[str, tuple[str | bytes, str | None]] = {
    "filename* alone": (f"filename*={extended(NAME)}", NAME),
    "filename* and a poor filename": (f'filename="__.mp4"; filename*={extended(NAME)}', NAME),
    "filename* before filename": (f'filename*={extended(NAME)}; filename="__.mp4"', NAME),
    "filename* in lower case": (f'filename="__.mp4"; filename*={extended(NAME).replace("UTF", "utf").lower()}', NAME),
    "filename* with a language": (f"filename*=UTF-8'zh-CN'{quote(NAME)}", NAME),
    "filename* in quotes": (f'filename*="{extended(NAME)}"', NAME),
    "filename* in capitals": (f"FILENAME*={extended(NAME)}", NAME),
    "filename* with blanks": (f"filename* = {extended(NAME)} ; x=y", NAME),
    "filename* in GBK": (f"filename*={extended(NAME, 'GBK')}", NAME),
    "filename* in GB18030": (f"filename*={extended('𠮷.mp4', 'GB18030')}", "𠮷.mp4"),
    "filename* in Big5": (f"filename*={extended('影片.mp4', 'Big5')}", "影片.mp4"),
    "filename* in Shift_JIS": (f"filename*={extended('表.mp4', 'Shift_JIS')}", "表.mp4"),
    "filename* in EUC-KR": (f"filename*={extended('영상.mp4', 'EUC-KR')}", "영상.mp4"),
    "filename* in Latin-1": (f"filename*={extended('é.mp4', 'ISO-8859-1')}", "é.mp4"),
    "filename* in Windows-1251": (f"filename*={extended('видео.mp4', 'windows-1251')}", "видео.mp4"),
    "filename* unescaped": (f"filename*=UTF-8''{NAME}", NAME),
    "filename* with a half escape": ("filename=\"a.mp4\"; filename*=UTF-8''%E8%A7%8", "a.mp4"),
    "filename* that is no UTF-8": ("filename=\"a.mp4\"; filename*=UTF-8''%CA%D3.mp4", "a.mp4"),
    "filename* in an unknown charset": ("filename=\"a.mp4\"; filename*=klingon''%E8%A7%86.mp4", "a.mp4"),
    "filename* without a charset": ('filename="a.mp4"; filename*=b.mp4', "a.mp4"),
    "an empty filename*": ("filename=\"a.mp4\"; filename*=UTF-8''", "a.mp4"),
    "malformed and alone": ("filename*=klingon''%E8%A7%86.mp4", "视.mp4"),
    "malformed and alone, no charset": ("filename*=b.mp4", "b.mp4"),
    "continuations": ('filename*0="a long "; filename*1="name.mp4"', "a long name.mp4"),
    "encoded continuations": (f"filename*0*=UTF-8''{quote('视')}; filename*1*={quote('频')}; filename*2=.mp4", NAME),
    "continuations out of order": (f"filename*1*={quote('频')}.mp4; filename*0*=UTF-8''{quote('视')}", NAME),
    "a character cut in two": ("filename*0*=UTF-8''%E8%A7; filename*1*=%86%E9%A2%91.mp4", NAME),
    "continuations in GBK": ("filename*0*=gbk''%CA%D3; filename*1*=%C6%B5; filename*2=.mp4", NAME),
    "a continuation is missing": ('filename="a.mp4"; filename*0="b"; filename*2=".mp4"', "a.mp4"),
    "more than ten": (
        "; ".join(f"filename*{n}={chr(97 + n)}" for n in range(12)) + "; filename*12=.mp4",
        "abcdefghijkl.mp4",
    ),
    "a word": (f'filename="{word(NAME)}"', NAME),
    "a word without quotes": (f"filename={word(NAME)}", NAME),
    "a word and filename*": (f'filename="{word("__.mp4")}"; filename*={extended(NAME)}', NAME),
    "a word in Q": (f'filename="{word(NAME, how="Q")}"', NAME),
    "Q with blanks": ('filename="=?iso-8859-1?q?caf=E9_a.mp4?="', "café a.mp4"),
    "a word in GBK": (f'filename="{word(NAME, "gbk")}"', NAME),
    "a word in GB18030": (f'filename="{word("𠮷.mp4", "gb18030", "q")}"', "𠮷.mp4"),
    "a word in Big5": (f'filename="{word("影片.mp4", "big5", "b")}"', "影片.mp4"),
    "a word in Shift_JIS": (f'filename="{word("表示.mp4", "shift_jis")}"', "表示.mp4"),
    "a word in ISO-2022-JP": (f'filename="{word("日本.mp4", "iso-2022-jp")}"', "日本.mp4"),
    "a word with a language": (f'filename="{word(NAME).replace("utf-8", "utf-8*zh")}"', NAME),
    "two words": (f'filename="{word("视")} {word("频.mp4")}"', NAME),
    "two words that touch": (f'filename="{word("视")}{word("频.mp4")}"', NAME),
    "two words on two lines": (f'filename="{word("视")}\r\n {word("频.mp4")}"', NAME),
    "two words of two charsets": (f'filename="{word("视", "gbk")} {word("频.mp4", "gb18030", "q")}"', NAME),
    "a character cut between words": ('filename="=?utf-8?B?6Kc=?= =?utf-8?B?hg==?=.mp4"', "视.mp4"),
    "a word and an extension": (f'filename="{word("视频")}.mp4"', NAME),
    "text and a word": (f'filename="a {word("视频")} b.mp4"', "a 视频 b.mp4"),
    "a word without padding": (f'filename="{word(NAME + "a").replace("=?=", "?=")}"', NAME + "a"),
    "a word that is malformed": ('filename="=?utf-8?B?***?=.mp4"', "=?utf-8?B?***?=.mp4"),
    "a word in an unknown charset": ('filename="=?klingon?B?YQ==?=.mp4"', "=?klingon?B?YQ==?=.mp4"),
    "a word that is no UTF-8": ('filename="=?utf-8?B?/w==?=.mp4"', "=?utf-8?B?/w==?=.mp4".rpartition("/")[2]),
    "a quote as browsers write it": ('filename="a%22b.mp4"', 'a"b.mp4'),
    "line breaks as browsers write them": ('filename="a%0D%0Ab%0d%0a.mp4"', "a\r\nb\r\n.mp4"),
    "a percent sign": ('filename="100%25 %41.mp4"', "100%25 %41.mp4"),
    "an escaped quote": ('filename="a\\"b.mp4"', 'a"b.mp4'),
    "a quote that is not escaped": ('filename="a"b.mp4"', 'a"b.mp4'),
    "raw UTF-8": (f'filename="{NAME}"', NAME),
    "raw UTF-8 without quotes": (f"filename={NAME}", NAME),
    "raw GBK, not declared": (b'filename="' + NAME.encode("gbk") + b'"', NAME),
    "raw Latin-1, not declared": (b'filename="caf\xe9.mp4"', "café.mp4"),
    "German Latin-1, not declared": (b'filename="Gr\xf6\xdfe.mp4"', "Größe.mp4"),
    "Windows-1252, not declared": (b'filename="a\x96b.mp4"', "a–b.mp4"),
    "a path of Windows": ('filename="C:\\Users\\x\\a.mp4"', "a.mp4"),
    "a share of Windows": ('filename="\\\\host\\share\\a.mp4"', "a.mp4"),
    "a path of Unix": ('filename="/home/x/a.mp4"', "a.mp4"),
    "a path upwards": ('filename="..\\../a.mp4"', "a.mp4"),
    "a path in filename*": (f"filename*={extended('x/y' + chr(92) + NAME)}", NAME),
    "a path in a word": (f'filename="{word("C:" + chr(92) + NAME)}"', NAME),
    "a folder of a browser": (f'filename="holiday/2026/{NAME}"', NAME),
    "a backslash at the end": ('filename="a.mp4\\"', "a.mp4"),
    "a semicolon": ('filename="a; filename=b.mp4"', "a; filename=b.mp4"),
    "none": ("x=y", None),
    "empty": ('filename=""', ""),
}


def part(rest: bytes, more: bytes = b"", field: bytes = b"videos") -> bytes:
    return (
        b"--" + B.encode() + b'\r\nContent-Disposition: form-data; name="' + field + b'"; ' + rest + more + b"\r\n\r\n"
    )


def end() -> bytes:
    return f"\r\n--{B}--\r\n".encode()


@pytest.mark.parametrize("name", NAMES)
def test_file_names_are_decoded_as_the_client_meant(name: str) -> None:
    """The name that the client meant, whole and byte by byte."""
    written, expected = NAMES[name]
    body = part(written.encode() if isinstance(written, str) else written) + b"x" + end()
    for places in ((), range(len(body))):
        assert read(cut_at(body, *places)).parts == [("videos", expected, b"x")]


DECLARED: dict[str, tuple[str, str]] = {
    "gbk": (NAME, "gbk"),
    "GBK with a backslash byte": ("誠\u7e41鎈.mp4", "gbk"),
    "gb2312, and a character beyond it": ("镕.mp4", "gb2312"),
    "Big5 with a backslash byte": ("功許.mp4", "big5"),
    "Shift_JIS with a backslash byte": ("表.mp4", "shift_jis"),
    "iso-8859-1": ("ÖÉÀ.mp4", "iso-8859-1"),
    "windows-1251": ("видео.mp4", "windows-1251"),
    "iso-2022-jp": ("日本.mp4", "iso-2022-jp"),
    "utf-8": (NAME, "utf-8"),
    "UTF-8, declared as Latin-1": (NAME, "iso-8859-1"),
    "UTF-8, declared as what is unknown": (NAME, "klingon"),
    "UTF-8, declared as UTF-16": (NAME, "utf-16"),
}


def raw_name(kind: str) -> bytes:
    text, charset = DECLARED[kind]
    larger = {"gb2312": "gbk", "klingon": "utf-8", "utf-16": "utf-8"}
    return text.encode("utf-8" if kind.startswith("UTF-8") else larger.get(charset, charset))


@pytest.mark.parametrize("how", ["field", "part", "form"])
@pytest.mark.parametrize("kind", DECLARED)
def test_file_names_in_declared_charsets_are_decoded(kind: str, how: str) -> None:
    """A name in another character set, which a field `_charset_`, the part or the form declares."""
    text, charset = DECLARED[kind]
    plain = f'--{B}\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\n{charset}\r\n'.encode()
    first = plain if how == "field" else b""
    more = f"\r\nContent-Type: video/mp4; charset={charset}".encode() if how == "part" else b""
    body = first + part(b'filename="' + raw_name(kind) + b'"', more) + b"x" + end()
    content_type = f"multipart/form-data; boundary={B}" + (f"; charset={charset}" if how == "form" else "")
    for places in ((), range(len(body))):
        found = read(cut_at(body, *places), content_type).parts
        assert found[-1] == ("videos", text, b"x")
        assert len(found) == (2 if how == "field" else 1)


@hypothesis_settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40))
def test_any_name_survives_filename_star(name: str) -> None:
    """What `filename*` or a word says comes out as it went in."""
    _, found = mime.parameters(f"form-data; filename*={extended(name)}")
    assert mime.best(found, "filename") == name
    _, found = mime.parameters(f'form-data; filename="{word(name)}"')
    assert mime.best(found, "filename") == name


def test_unknown_charsets_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python remembers every name that it was asked for; a client's inventions must not reach it."""
    monkeypatch.setattr("codecs.lookup", None)
    for charset in ("klingon", "a" * 5000, "\u212a", "..", "idna", "unicode_escape", "zip", "utf_7", ""):
        assert mime.strict(b"a", charset) is None


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> LiveServer:  # type: ignore[misc]
    with LiveServer(tmp_path_factory.mktemp("live")) as made:
        yield made


def post(live: LiveServer, *parts: bytes) -> dict[str, object]:
    """Send parts, each with its content; what the server says, in English."""
    body = b"\r\n".join(parts) + end()
    headers = {"Content-Type": f"multipart/form-data; boundary={B}", "Accept-Language": "en"}
    said: dict[str, object] = json.loads(live.ask("POST", PATH, headers, body).body)
    if said["success"]:
        rows = live.query("SELECT name FROM task_files WHERE task_id = :id ORDER BY position", id=said["task_id"])
        said["names"] = [row["name"] for row in rows]
    return said


UNNAMED: dict[str, tuple[bytes, str | None]] = {
    "a video": (b"\r\nContent-Type: video/mp4", "video.mp4"),
    "a video with parameters": (b'\r\nContent-Type: Video/MP4; codecs="avc1"', "video.mp4"),
    "QuickTime": (b"\r\nContent-Type: video/quicktime", "video.mov"),
    "3GPP": (b"\r\nContent-Type: video/3gpp", "video.3gp"),
    "any video": (b"\r\nContent-Type: video/*", "video.mp4"),
    "no video": (b"\r\nContent-Type: text/plain", None),
    "no type": (b"", None),
}


@pytest.mark.parametrize("rest", [b"x=y", b'filename=""'])
@pytest.mark.parametrize("kind", UNNAMED)
def test_an_unnamed_video_gets_a_name_of_its_type(live: LiveServer, kind: str, rest: bytes) -> None:
    """A part that is declared a video is a file, and gets a name of its type."""
    more, expected = UNNAMED[kind]
    said = post(live, part(rest, more) + GOOD)
    if expected is None:
        assert said["code"] == "no_file"
    else:
        assert said["names"] == [expected]


def test_an_unnamed_video_of_another_type_is_refused_by_name(live: LiveServer) -> None:
    """It is refused by name, and not lost without a word."""
    said = post(live, part(b"x=y", b"\r\nContent-Type: video/x-dream") + bytes(100), part(b'filename="a.mp4"') + GOOD)
    assert (said["names"], said["invalid_files"]) == (["a.mp4"], ["video.dream"])


def test_an_empty_file_field_is_not_a_file(live: LiveServer) -> None:
    """A file field that was left empty is no file, whatever type it says."""
    said = post(live, part(b'filename=""', b"\r\nContent-Type: video/mp4"), part(b'filename="a.mp4"') + GOOD)
    assert (said["names"], said["invalid_files"]) == (["a.mp4"], None)


ENCODED: dict[str, tuple[bytes, str, str]] = {
    "base64": (b"Content-Transfer-Encoding: base64", "transfer_encoding_unsupported", "base64"),
    "BASE64, folded": (b"Content-Transfer-Encoding:\r\n BASE64", "transfer_encoding_unsupported", "BASE64"),
    "quoted-printable": (
        b"Content-Transfer-Encoding: quoted-printable",
        "transfer_encoding_unsupported",
        "quoted-printable",
    ),
    "unknown": (b"content-transfer-encoding: x-uue", "transfer_encoding_unsupported", "x-uue"),
    "gzip": (b"Content-Encoding: gzip", "content_encoding_unsupported", "gzip"),
    "two codings": (b"Content-Encoding: identity, br", "content_encoding_unsupported", "br"),
}


@pytest.mark.parametrize("kind", ENCODED)
def test_an_encoded_file_is_refused(live: LiveServer, kind: str) -> None:
    """The file is named with the reason, in both languages, none of its bytes is stored, and the others go on."""
    field, code, expected = ENCODED[kind]
    files = len(live.files())
    said = post(live, part(b'filename="e.mp4"', b"\r\n" + field) + GOOD, part(b'filename="a.mp4"') + GOOD)
    assert (said["names"], said["invalid_files"]) == (["a.mp4"], ["e.mp4"])
    details: Any = said["invalid_details"]
    (detail,) = details
    assert detail["code"] == code
    assert expected in detail["message"]
    assert len(live.files()) == files + 1


@pytest.mark.parametrize(
    "field",
    [
        "Content-Transfer-Encoding: binary",
        "Content-Transfer-Encoding: 8BIT",
        "Content-Encoding: identity",
        "Content-Transfer-Encoding: 7bit",
    ],
)
def test_an_identity_transfer_encoding_is_accepted(live: LiveServer, field: str) -> None:
    """Many clients say that the bytes are as they are."""
    assert post(live, part(b'filename="a.mp4"', b"\r\n" + field.encode()) + GOOD)["names"] == ["a.mp4"]


def test_a_chinese_name_is_shown_in_the_status(live: LiveServer, tmp_path: Path) -> None:
    """The name in the status is that of the client, whichever way it was written."""
    for written in (f"filename*={extended(NAME)}", f'filename="{word(NAME)}"', f'filename="C:\\x\\{NAME}"'):
        said = post(live, part(written.encode()) + GOOD)
        assert said["names"] == [NAME]
    assert filenames.base(NAME) == NAME
