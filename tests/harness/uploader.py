"""A tus client of a real server; it fails on any other answer than the expected one."""

from collections.abc import Mapping

import httpx

from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import until
from tests.tus.client import VERSION, creation, metadata, patch_headers

PART = {"Upload-Concat": "partial"}


class Uploader:
    """Of one server."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server

    def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b"", expect: int = 204
    ) -> httpx.Response:
        response = self.server.http.request(method, self.server.url + path, headers=dict(headers), content=body)
        assert response.status_code == expect, (response.status_code, response.text)
        return response

    def create(self, length: int, more: Mapping[str, str] | None = None) -> str:
        """A new upload; its id."""
        answer = self.ask("POST", "/files", creation(length) | dict(more or {}), b"", 201)
        return str(answer.headers["location"].rpartition("/")[2])

    def patch(self, upload: str, offset: int, body: bytes) -> None:
        """One PATCH."""
        self.ask("PATCH", f"/files/{upload}", patch_headers(offset), body)

    def offset(self, upload: str) -> int:
        """By HEAD."""
        return int(self.ask("HEAD", f"/files/{upload}", VERSION, expect=200).headers["upload-offset"])

    def join(self, *parts: str) -> str:
        """The final upload of these parts; its id."""
        upload_concat = f"final;{' '.join(f'/files/{part}' for part in parts)}"
        headers = VERSION | {"Upload-Concat": upload_concat, "Upload-Metadata": metadata(filename="whole.mp4")}
        answer = self.ask("POST", "/files", headers, b"", 201)
        return str(answer.headers["location"].rpartition("/")[2])

    def wait_until_received(self, upload: str, received: int) -> None:
        """Wait until the row says that so many bytes were received."""
        sql = "SELECT received FROM uploads WHERE id = :id"
        check = lambda: query(self.server.database_url, sql, id=upload) == [{"received": received}]  # noqa: E731
        until(check, seconds=10, what=f"the row tells {received} bytes")
