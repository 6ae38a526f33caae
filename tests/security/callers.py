"""Every kind of caller of a server with authentication, and what they may want to touch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from server.auth.keys import ApiKeys
from server.auth.principal import scopes_of
from server.bootstrap import utc_now
from server.database.session import Database
from tests import samples
from tests.harness.rows import execute
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import ENDS
from tests.harness.waiting import until

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}

KINDS = (
    "none",  # no credential at all
    "owner",  # upload, read and manage
    "other",  # the same of another owner
    "reader",  # of the owner, and may only read
    "uploader",  # of the owner, and may only upload
    "expired",
    "revoked",
    "wrong",  # the right id with another secret
    "grant",  # the grant of another upload
    "admin",  # of another owner
)


@dataclass
class Callers:
    """The server, the credentials of all callers, and the objects of `alice`."""

    server: ServerProcess
    folder: Path
    keys: dict[str, str] = field(default_factory=dict)

    def make_keys(self) -> None:
        """Make a credential for each kind of caller."""
        everything = ("upload", "read", "manage")
        self.keys["owner"] = self.key("alice", *everything)
        self.keys["other"] = self.key("bob", *everything)
        self.keys["reader"] = self.key("alice", "read")
        self.keys["uploader"] = self.key("alice", "upload")
        self.keys["admin"] = self.key("root", "admin")
        self.keys["expired"] = self.key("alice", *everything)
        execute(
            self.server.database_url,
            "UPDATE api_keys SET expires_at = created_at WHERE id = :id",
            id=self.keys["expired"].split("_")[1],
        )
        self.keys["revoked"] = self.key("alice", *everything)
        with self._keys_of_server() as keys:
            assert keys.revoke(self.keys["revoked"].split("_")[1])
        self.keys["wrong"] = self.keys["owner"][:-43] + "A" * 43
        self.keys["grant"] = self.grant()["token"]

    def key(self, owner: str, *scopes: str) -> str:
        """A new key; as `videodock keys create` makes it, without a process for it."""
        with self._keys_of_server() as keys:
            return keys.create(owner, scopes_of(scopes), None)[1]

    @contextmanager
    def _keys_of_server(self) -> Iterator[ApiKeys]:
        database = Database(self.server.database_url, 1)
        try:
            yield ApiKeys.open(database, utc_now)
        finally:
            database.close()

    def grant(self, by: str = "owner", **terms: Any) -> dict[str, Any]:
        """A new grant of alice."""
        answer = self.ask("POST", "/api/grants", by, json=terms)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def headers(self, kind: str) -> dict[str, str]:
        """The Authorization of this kind of caller."""
        return {} if kind == "none" else {"Authorization": f"Bearer {self.keys[kind]}"}

    def ask(
        self, method: str, path: str, kind: str, headers: dict[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        """A request by this kind of caller; `path` may be a whole URL of the server."""
        url = path if path.startswith("http") else self.server.url + path
        given = {**(headers or {}), **self.headers(kind)}
        with self.server.http.stream(method, url, headers=given, **more) as answer:
            # A live stream has no end.
            if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
                answer.read()
        return answer

    # What alice has

    def open_upload(self, length: int = 1000, by: str = "owner", **headers: str) -> str:
        """The URL of a new upload."""
        answer = self.ask("POST", "/files", by, {**TUS, "Upload-Length": str(length), **headers})
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"]

    def upload(self) -> str:
        """The URL of a complete upload whose task has ended well."""
        data = self.video.read_bytes()
        location = self.open_upload(len(data))
        answer = self.server.http.patch(location, headers={**PATCH, "Upload-Offset": "0"}, content=data)
        assert answer.status_code == 204, answer.text
        status = self.server.url + "/api/task/status/" + location.rpartition("/")[2]
        until(lambda: self.server.http.get(status).json()["status"] in ENDS, seconds=60, what="the task has ended")
        assert self.server.http.get(status).json()["status"] == "completed"
        return location

    @cached_property
    def video(self) -> Path:
        """A small video."""
        return samples.make(self.folder, "video.mp4", seconds=1)

    @cached_property
    def done(self) -> str:
        """A complete upload, for what changes nothing."""
        return self.upload()

    def files(self, location: str) -> list[dict[str, Any]]:
        """The files in the status of an upload's task."""
        found: list[dict[str, Any]] = self.server.http.get(
            self.server.url + "/api/task/status/" + location.rpartition("/")[2]
        ).json()["files"]
        return found


def id_of(location: str) -> str:
    """The id in an upload's URL, without its signature."""
    return location.rpartition("/")[2].partition("~")[0]
