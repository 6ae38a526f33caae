"""A client that uploads several files into one task, and what the server must then say of it."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, Self

from server.bootstrap import Services
from server.tasks import queue
from tests.harness.http import Answer, Connection, Headers, LiveServer
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import PATIENCE
from tests.tus.client import MOUNT, VERSION, id_of, metadata, patch_headers, target, video

LENGTH = 500
DATA = video(LENGTH)
TEXT = (b"text, and no video at all. " * 20)[:LENGTH]


class Server(Protocol):
    """What a client, and who looks into the rows, need of a server."""

    def ask(self, method: str, target: str, headers: Headers = (), body: bytes | None = None) -> Answer: ...

    def query(self, sql: str, **parameters: object) -> list[dict[str, Any]]: ...


class Remote:
    """A server in processes of its own."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server

    def ask(self, method: str, target: str, headers: Headers = (), body: bytes | None = None) -> Answer:
        """One request on a connection of its own."""
        with Connection(self.server.port) as connection:
            return connection.ask(method, target, headers, body)

    def query(self, sql: str, **parameters: object) -> list[dict[str, Any]]:
        """Rows of the server's database."""
        return query(self.server.database_url, sql, **parameters)


class Group:
    """One group of a client."""

    def __init__(self, live: Server, files: int = 3, task: str | None = None) -> None:
        self.live = live
        self.files = files
        self.task = task or str(uuid.uuid4())

    def headers(self, place: int | None, *, length: int | None = LENGTH, **said: str) -> dict[str, str]:
        """Headers of a creation; `said` is metadata besides, or instead."""
        at = {} if place is None else {"task_file": str(place)}
        pairs = {"filename": f"{place or 'clip'}.mp4", "task": self.task, "task_files": str(self.files), **at, **said}
        size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        return VERSION | size | {"Upload-Metadata": metadata(**pairs)}

    def ask(
        self, place: int | None, more: Mapping[str, str] | None = None, body: bytes | None = None, **said: Any
    ) -> Answer:
        """The answer to a creation."""
        return self.live.ask("POST", MOUNT, self.headers(place, **said) | dict(more or {}), body)

    def create(self, place: int | None, *, offset: int = 0, **said: Any) -> str:
        """A member; its id."""
        answer = self.ask(place, **said)
        assert (answer.status, answer.headers["upload-task"]) == (201, self.task), answer
        assert answer.headers["upload-offset"] == str(offset)
        return id_of(answer)

    def whole(self, place: int | None, data: bytes = DATA) -> str:
        """A member with all of its bytes."""
        upload = self.create(place, length=len(data))
        answer = self.patch(upload, 0, data)
        assert (answer.status, answer.headers["upload-task"]) == (204, self.task), answer
        return upload

    def patch(self, upload: str, offset: int, body: bytes) -> Answer:
        """One PATCH."""
        return self.live.ask("PATCH", target(upload), patch_headers(offset), body)

    def delete(self, upload: str) -> Answer:
        """DELETE of a member."""
        return self.live.ask("DELETE", target(upload), VERSION)

    def cancel(self) -> Answer:
        """Cancel the task."""
        return self.live.ask("POST", f"/api/task/cancel/{self.task}")

    def status(self, language: str = "zh") -> dict[str, Any]:
        """What the API says of the task."""
        answer = self.live.ask("GET", f"/api/task/status/{self.task}", {"Accept-Language": language})
        assert answer.status == 200, answer
        found: dict[str, Any] = json.loads(answer.body)
        return found

    def row(self) -> dict[str, Any]:
        """The task's row."""
        (row,) = self.live.query("SELECT * FROM tasks WHERE id = :id", id=self.task)
        return row

    def events(self) -> Sequence[str]:
        """What happened to the task, in order."""
        rows = self.live.query(
            "SELECT type FROM task_events WHERE task_id = :id AND upload_id IS NULL ORDER BY id", id=self.task
        )
        return [row["type"] for row in rows]

    def check_gathering(self, arrived: int) -> None:
        """It waits for the others, and says so."""
        state = self.status()
        assert (state["status"], state["message"]) == ("uploaded", f"等待其余文件 ({arrived}/{self.files})"), state
        assert self.row()["gather_until"] is not None

    def check_ready(self) -> None:
        """It waits for a worker, as any other task."""
        state = self.status()
        assert (state["status"], state["message"]) == ("uploaded", "文件上传完成，准备处理"), state
        assert self.row()["gather_until"] is None
        assert self.events()[-1] == "gathered"


def sweep(live: LiveServer) -> Any:
    """One sweep beside the server, by another process's means."""
    with Services.open(live.settings) as services:
        services.store.claim()
        return services.sweep()


def claim(live: LiveServer, task: str) -> object:
    """A worker asks for this task; None when it may not have it."""
    with Services.open(live.settings) as services, services.database.write() as session:
        return queue.claim(session, "a worker", node=services.node, lease=60, now=services.clock(), task_id=task)


def check_tidy(live: LiveServer) -> None:
    """Files and rows agree: of what has ended nothing is left, and an ended group has no open upload."""
    sweep(live)
    rows = live.query("SELECT id, status, has_bytes, concat FROM uploads")
    there = {row["id"] for row in rows if row["has_bytes"] and row["status"] in ("open", "complete")}
    waiting = {row["id"] for row in rows if (row["concat"] or "").startswith("final") and row["status"] == "open"}
    assert {path.name for path in live.files()} == there - waiting
    assert not [row for row in rows if row["has_bytes"] and row["status"] not in ("open", "complete")]
    left = live.query(
        "SELECT u.id FROM uploads u JOIN tasks t ON t.id = u.task_id "
        "WHERE u.status = 'open' AND t.gather_until IS NULL AND u.id <> t.id"
    )
    assert not left


class GroupClients:
    """Clients of one group, a thread each, that go on until all is there or they are told that it is over."""

    def __init__(self, group: Group, *, pieces: int = 3, refused: int = 0) -> None:
        self.group = group
        self.pieces = pieces
        self.refused = refused  # the place of the file that is no video
        self.uploads: dict[int, str] = {}
        self.ended: dict[int, str] = {}
        self.wrong: list[str] = []
        self.begun = threading.Barrier(group.files + 1)
        self.threads = [threading.Thread(target=self._run, args=(place,)) for place in range(1, group.files + 1)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        self.begun.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self.threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self.threads)
        assert not self.wrong, self.wrong

    def _run(self, place: int) -> None:
        self.begun.wait(PATIENCE)
        try:
            self.ended[place] = self._upload(place)
        except Exception as error:
            self.wrong.append(f"{place}: {error!r}")

    def _upload(self, place: int) -> str:
        data = TEXT if place == self.refused else DATA
        answer = self._asked(lambda: self.group.ask(place))
        if answer.status != 201:
            return answer.code
        self.uploads[place] = upload = id_of(answer)
        for at in range(self.pieces):
            start, end = at * LENGTH // self.pieces, (at + 1) * LENGTH // self.pieces
            answer = self._asked(partial(self.group.patch, upload, start, data[start:end]))
            if answer.status != 204:
                return answer.code
        return "whole"

    def _asked(self, ask: Callable[[], Answer]) -> Answer:
        for _ in range(100):
            answer = ask()
            if answer.status not in (423, 503):
                return answer
            time.sleep(0.05)
        raise AssertionError(answer)
