"""What the fuzzer starts from: for each target an input that it takes, and the words that inputs are made of.

Rule: a seed is good input. Without one a target that has to be told three headers is never reached beyond the first.
"""

from collections.abc import Callable

from tests.fuzz import targets
from tests.fuzz.targets import ID, TARGETS

_NAME = "filename Y2xpcC5tcDQ=,filetype dmlkZW8vbXA0,is_empty"
_OTHER = "0d5b0b0e-7f0a-4d6e-8a57-2f6f1c9d3e44"
_SUM = "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk="
_OCTETS = "Content-Type: application/offset+octet-stream"
_TRAILING = "Transfer-Encoding: chunked\nTrailer: Upload-Checksum"
_PART = 'Content-Disposition: form-data; name="videos"; filename="clip.mp4"\r\nContent-Type: video/mp4'
_FORM = f"multipart/form-data; boundary=b\n--b\r\n{_PART}\r\n\r\nbytes\r\n--b--\r\n"
_FTYP = "\x00\x00\x00\x18ftypmp42"

GOOD: dict[Callable[[bytes], None], tuple[str, ...]] = {
    targets.create: (
        f"Tus-Resumable: 1.0.0\nUpload-Length: 1000\nUpload-Metadata: {_NAME}",
        "Tus-Resumable: 1.0.0\nUpload-Defer-Length: 1",
        f"Tus-Resumable: 1.0.0\nUpload-Length: 9\nContent-Length: 9\n{_OCTETS}\nUpload-Checksum: {_SUM}",
        f"Tus-Resumable: 1.0.0\nUpload-Concat: final;/files/{ID}",
        f"Tus-Resumable: 1.0.0\nUpload-Concat: partial\nUpload-Length: 9\n{_OCTETS}\nTransfer-Encoding: chunked",
    ),
    targets.append: (
        f"\x01\nTus-Resumable: 1.0.0\n{_OCTETS}\nUpload-Offset: 7\nContent-Length: 9\nUpload-Checksum: {_SUM}",
        f"\0{_SUM}\nTus-Resumable: 1.0.0\n{_OCTETS}\nUpload-Offset: 0\n{_TRAILING}",
    ),
    targets.number: ("1000", "9223372036854775807"),
    targets.metadata: (_NAME, "name w6k="),
    targets.checksum: (_SUM,),
    targets.concat: ("partial", f"final;/files/{ID} https://example.org/files/{_OTHER}"),
    targets.form: (_FORM, _FORM.replace("\r\n--b--", "\r\n--b\r\nContent-Disposition: form-data\r\n\r\n\r\n--b--")),
    targets.names: (
        "utf-8\nform-data; name=videos; filename=\"=?utf-8?B?6KeGLm1wNA==?=\"; filename*=UTF-8''%E8%A7%86.mp4",
        "gbk\nform-data; filename*0*=gbk''%CA%D3; filename*1=.mp4; filename=\"C:\\a%22.mp4\"",
    ),
    targets.filename: ("clip.mp4", "../a/COM1.mp4", "视频.mov"),
    targets.media_type: (f"clip.mp4\n{_FTYP}", "a.mkv\n\x1a\x45\xdf\xa3", "a.avi\nRIFF\0\0\0\0AVI ", "\nFLV\x01"),
    targets.language: ("zh-CN,zh;q=0.9,en;q=0.1",),
}

SEEDS = [
    bytes([TARGETS.index(target)]) + (text.encode() if target is targets.filename else text.encode("latin-1"))
    for target, texts in GOOD.items()
    for text in texts
]

WORDS = [
    *("Tus-Resumable: 1.0.0", "Upload-Length: ", "Upload-Offset: ", "Upload-Defer-Length: 1", "Upload-Metadata: "),
    *("Upload-Concat: ", "Upload-Checksum: ", "Content-Length: ", "Transfer-Encoding: chunked", "Trailer: "),
    *("X-HTTP-Method-Override: ", "Content-Type: ", "application/offset+octet-stream", "partial", "final;", ID),
    *("sha1 ", "sha256 ", "crc32c ", "md5 ", "filename ", "YQ==", "9223372036854775807", "18446744073709551616"),
    *("multipart/form-data; boundary=", "--b", "--b--", "Content-Disposition: form-data; name=", "filename=", "q=0."),
    *("filename*=UTF-8''", "ftyp", "mp42", "RIFF", "AVI ", ".mp4", ".mkv", "CON", "\\x0d\\x0a", "\\xe2\\x80\\xae"),
]
