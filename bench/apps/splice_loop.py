"""The limit: a blocking socket loop that splices socket -> pipe -> file, one thread a connection.

Rule: nothing is checked, locked, recorded or made durable; it shows what the kernel and Python could do at most. It
speaks as much of tus as the clients need, takes a form whose only part is a file, and hashes when a checksum is sent.
Arguments: port, folder.
"""

import base64
import fcntl
import hashlib
import itertools
import os
import socket
import sys
import threading
from pathlib import Path

PIPE_BYTES = 1 << 20

_names = itertools.count()


def serve(port: int, folder: Path) -> None:
    """Accept for ever."""
    with socket.create_server(("127.0.0.1", port), backlog=2048) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_Connection(connection, folder).run, daemon=True).start()


class _Connection:
    def __init__(self, connection: socket.socket, folder: Path) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        self._folder = folder
        self._data = b""
        self._pipe: tuple[int, int] | None = None
        self._buffer: bytearray | None = None

    def run(self) -> None:
        with self._socket:
            try:
                while self._read_until(b"\r\n\r\n"):
                    head, _, self._data = self._data.partition(b"\r\n\r\n")
                    self._socket.sendall(self._answer(head))
            except ConnectionError:
                pass
            finally:
                for descriptor in self._pipe or ():
                    os.close(descriptor)

    def _answer(self, head: bytes) -> bytes:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        path = self._folder / target.rpartition("/")[2]
        if method == "POST":
            path = self._folder / str(next(_names))
            path.touch()
            if length:
                return self._take_form(path, length)
            return f"HTTP/1.1 201 Created\r\nLocation: /files/{path.name}\r\nContent-Length: 0\r\n\r\n".encode()
        if method == "PATCH":
            offset = int(headers["upload-offset"])
            self._store(path, offset, length, headers.get("upload-checksum", ""))
            return f"HTTP/1.1 204 No Content\r\nUpload-Offset: {offset + length}\r\n\r\n".encode()
        if method == "HEAD":
            return f"HTTP/1.1 200 OK\r\nUpload-Offset: {path.stat().st_size}\r\n\r\n".encode()
        path.unlink()
        return b"HTTP/1.1 204 No Content\r\n\r\n"

    def _take_form(self, path: Path, length: int) -> bytes:
        self._read_until(b"\r\n\r\n")
        part, _, self._data = self._data.partition(b"\r\n\r\n")
        end = b"\r\n" + part.partition(b"\r\n")[0] + b"--\r\n"
        self._store(path, 0, length - len(part) - 4 - len(end), "")
        self._read_until(end)
        self._data = self._data.removeprefix(end)
        return f"HTTP/1.1 200 OK\r\nContent-Length: {len(path.name)}\r\n\r\n{path.name}".encode()

    def _store(self, path: Path, offset: int, length: int, checksum: str) -> None:
        target = os.open(path, os.O_WRONLY)
        try:
            first, self._data = self._data[:length], self._data[length:]
            os.pwrite(target, first, offset)
            move = self._hash_and_write if checksum else self._splice
            move(target, offset + len(first), length - len(first), first, checksum)
        finally:
            os.close(target)

    def _splice(self, target: int, offset: int, left: int, _first: bytes, _checksum: str) -> None:
        if self._pipe is None:
            self._pipe = os.pipe()
            fcntl.fcntl(self._pipe[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        while left:
            moved = os.splice(self._socket.fileno(), self._pipe[1], min(left, PIPE_BYTES))
            if not moved:
                raise ConnectionResetError
            left -= moved
            while moved:
                written = os.splice(self._pipe[0], target, moved, offset_dst=offset)
                offset, moved = offset + written, moved - written

    def _hash_and_write(self, target: int, offset: int, left: int, first: bytes, checksum: str) -> None:
        self._buffer = self._buffer or bytearray(PIPE_BYTES)
        view = memoryview(self._buffer)
        found = hashlib.sha1(first)
        while left:
            count = self._socket.recv_into(view[: min(left, PIPE_BYTES)])
            if not count:
                raise ConnectionResetError
            found.update(view[:count])
            os.pwrite(target, view[:count], offset)
            offset, left = offset + count, left - count
        if found.digest() != base64.b64decode(checksum.removeprefix("sha1 ")):
            raise ConnectionResetError

    def _read_until(self, end: bytes) -> bool:
        while end not in self._data:
            try:
                self._receive()
            except ConnectionResetError:
                return False
        return True

    def _receive(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionResetError
        self._data += data


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
