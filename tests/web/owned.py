"""A server with authentication, and requests of its owners by key."""

import json
from typing import Any

from server.auth.keys import ApiKeys
from server.auth.principal import scopes_of
from server.bootstrap import utc_now
from server.database.session import Database
from tests.harness.http import Answer, LiveServer
from tests.harness.multipart import PATH, form_body
from tests.tus.client import MOUNT, VERSION, metadata, patch_headers, video

BOUNDARY = "f0rm"
EVERYTHING = ("upload", "read", "manage")


class Owned:
    """The server, with keys that are made as they are needed: `ann` has every scope, `ann:read` has one."""

    def __init__(self, live: LiveServer) -> None:
        self.live = live
        self._keys: dict[str, str] = {}

    def key(self, who: str) -> str:
        """The key of an owner, with all scopes or with those after the colon."""
        if who not in self._keys:
            owner, _, scopes = who.partition(":")
            database = Database(self.live.database_url, 1)
            try:
                given = scopes_of(scopes.split(",") if scopes else EVERYTHING)
                self._keys[who] = ApiKeys.open(database, utc_now).create(owner, given, None)[1]
            finally:
                database.close()
        return self._keys[who]

    def ask(
        self, method: str, path: str, who: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """One request."""
        credential = {"Authorization": f"Bearer {self.key(who)}"} if who else {}
        return self.live.ask(method, path, credential | (headers or {}), body)

    def json(self, method: str, path: str, who: str = "ann", content: object = None) -> tuple[int, dict[str, Any]]:
        """Status and JSON of an answer; with `content` the request has a body."""
        given = None if content is None else json.dumps(content).encode()
        headers = {} if given is None else {"Content-Type": "application/json"}
        answer = self.ask(method, path, who, headers, given)
        return answer.status, json.loads(answer.body)

    def get(self, path: str, who: str = "ann") -> dict[str, Any]:
        """The JSON of a page that there is."""
        status, content = self.json("GET", path, who)
        assert (status, content.get("success")) == (200, True), content
        return content

    def refused(self, method: str, path: str, who: str = "ann", content: object = None) -> tuple[int, str]:
        """Status and code of a refusal."""
        status, answer = self.json(method, path, who, content)
        assert answer["success"] is False, answer
        return status, answer["code"]

    def open(self, who: str = "ann", *, length: int = 1000, have: int = 0, **pairs: str) -> str:
        """The last segment of the URL of a new upload with so many of its bytes."""
        headers = VERSION | {
            "Upload-Length": str(length),
            "Upload-Metadata": metadata(**{"filename": "a.mp4", **pairs}),
        }
        answer = self.ask("POST", MOUNT, who, headers)
        assert answer.status == 201, answer
        segment = answer.headers["location"].rpartition("/")[2]
        if have:
            done = self.ask("PATCH", f"{MOUNT}/{segment}", "", patch_headers(0), video(length)[:have])
            assert done.status == 204, done
        return segment

    def task(self, who: str = "ann", **pairs: Any) -> str:
        """The id of the task of a complete upload, which waits."""
        return self.open(who, have=1000, **pairs).partition("~")[0]

    def form(self, *parts: tuple[str, str | None, bytes], who: str = "ann", path: str = PATH) -> tuple[int, Any]:
        """Status and JSON of the answer to a form."""
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        answer = self.ask("POST", path, who, headers, form_body(BOUNDARY, parts))
        return answer.status, json.loads(answer.body)

    def set_status(self, task_id: str, status: str) -> None:
        """Let a task have a state that nobody gives it here."""
        ended = "NULL" if status in ("uploaded", "processing") else "created_at"
        sql = f"UPDATE tasks SET status = :status, finished_at = {ended} WHERE id = :id"
        self.live.execute(sql, status=status, id=task_id)

    def actions(self) -> list[str]:
        """What the audit log has, in order."""
        return [row["action"] for row in self.live.query("SELECT action FROM audit_log ORDER BY id")]
