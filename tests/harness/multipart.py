"""Multipart requests as people send them: by curl, as the document's Swift sample, by hand."""

import http.client
import json
import socket
import subprocess
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.harness import description
from tests.harness.description import Seen
from tests.harness.waiting import PATIENCE

PATH = "/api/upload/videos"


def curl(url: str, files: Iterable[Path], *more: str) -> tuple[int, dict[str, Any]]:
    """`curl -F videos=@file …`; the status and the JSON of the answer."""
    command = ["curl", "--silent", "--show-error", "--max-time", "120", "--write-out", "\n%{http_code}", *more]
    for file in files:
        command += ["--form", f"videos=@{file}"]
    done = subprocess.run([*command, url + PATH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"curl ended with {done.returncode}: {done.stderr}"
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


def swift_body(boundary: str, videos: Iterable[tuple[str, bytes]]) -> bytes:
    """The bytes that the document's Swift sample puts together, line by line."""
    body = b""
    for name, data in videos:
        body += f"--{boundary}\r\n".encode()
        body += f'Content-Disposition: form-data; name="videos"; filename="{name}"\r\n'.encode()
        body += b"Content-Type: video/mp4\r\n\r\n"
        body += data
        body += b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def form_body(boundary: str, parts: Iterable[tuple[str, str | None, bytes]]) -> bytes:
    """A form of any parts: field, file name (None for a plain field), content."""
    body = b""
    for field, name, data in parts:
        file = "" if name is None else f'; filename="{name}"\r\nContent-Type: application/octet-stream'
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"{file}\r\n\r\n'.encode()
        body += data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def swift(
    port: int, videos: Iterable[tuple[str, bytes]], headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Send that body as URLSession does: an upper-case UUID as boundary, a Content-Length."""
    boundary = str(uuid.uuid4()).upper()
    return send(port, boundary, [swift_body(boundary, videos)], headers)


def send(
    port: int, boundary: str, pieces: Iterable[bytes], headers: Mapping[str, str] | None = None, length: int = 0
) -> tuple[int, dict[str, Any]]:
    """Post `pieces`, together `length` bytes (0: as long as they are); the status and the JSON of the answer."""
    if not length:
        pieces = list(pieces)
        length = sum(map(len, pieces))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("POST", PATH, iter(pieces), _head(boundary, length) | dict(headers or {}))
        response = connection.getresponse()
        status, body = response.status, response.read()
        answered = {name.lower(): value for name, value in response.getheaders()}
        description.compare(Seen("POST", PATH, headers or {}, status, answered, body))
        return status, json.loads(body)
    finally:
        connection.close()


def begin(port: int, boundary: str, length: int, first: bytes) -> socket.socket:
    """Send the head and the first bytes of a body of `length`, and hand over the open connection."""
    head = _head(boundary, length) | {"Host": f"127.0.0.1:{port}"}
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    connection.sendall("\r\n".join(lines).encode() + first)
    return connection


def one_large_file(boundary: str, name: str, head: bytes, size: int) -> tuple[int, Iterator[bytes]]:
    """A body with one file of `size` bytes that starts with `head`: its length, and its pieces, made on the way."""
    start = f'--{boundary}\r\nContent-Disposition: form-data; name="videos"; filename="{name}"\r\n\r\n'.encode()
    end = f"\r\n--{boundary}--\r\n".encode()
    filler = bytes(1 << 20)

    def pieces() -> Iterator[bytes]:
        yield start + head
        left = size - len(head)
        while left > 0:
            yield filler[:left]
            left -= len(filler)
        yield end

    return len(start) + size + len(end), pieces()


def _head(boundary: str, length: int) -> dict[str, str]:
    return {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(length)}
