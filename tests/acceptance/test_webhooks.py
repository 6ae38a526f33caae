"""Webhooks and hooks of a real server: from an upload by HTTP to a receiver, through kills on the way."""

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.harness import hook_package
from tests.harness.backend import Asked, Backend, answers
from tests.harness.receiver import TAKES, Receiver
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import until
from tests.security.callers import TUS, Callers, id_of
from tests.tus.client import video

STORY = [
    "upload.created",
    "upload.finished",
    "task.processing",
    "video.playable",
    "task.completed",
]


def add(server: ServerProcess, url: str, *options: str) -> tuple[str, str]:
    """A webhook by the command; its id and secret."""
    made = server.run(
        "webhooks",
        "add",
        url,
        "--event",
        "all",
        *options,
        "--webhook-allow-private",
        "on",
        "--public-url",
        "https://v.example",
    )
    assert made.returncode == 0, made.stderr
    webhook_id, secret = made.stdout.split()
    return webhook_id, secret


def told(receiver: Receiver, task: str) -> list[str]:
    """Types of the messages of a task, in the order in which they came first."""
    seen: dict[str, str] = {}
    for asked, body in zip(receiver.asked, receiver.bodies, strict=True):
        if body["data"].get("task_id") == task:
            seen.setdefault(asked.headers["webhook-id"], body["type"])
    return list(seen.values())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_backend_is_told_all_that_happens(start_server: StartServer, database_url: str, tmp_path: Path) -> None:
    """By messages that it can verify, with URLs that work; hooks of an installed package are told, too, and refuse."""
    site = hook_package.install(tmp_path / "site")
    server = ServerProcess(
        tmp_path / "served",
        database_url=database_url,
        auth="on",
        transcode="mp4",
        webhook_allow_private="on",
        public_url="http://127.0.0.1:1/prefix",
    )
    file = tmp_path / "hooks.jsonl"
    server.environment = {"PYTHONPATH": str(site), "HOOKS_EXAMPLE_FILE": str(file)}
    try:
        server.start()
        callers = Callers(server, tmp_path)
        callers.make_keys()
        with Receiver() as receiver, Receiver() as foreign:
            webhook_id, secret = add(server, receiver.url, "--owner", "alice")
            add(server, foreign.url, "--owner", "bob")
            task = id_of(callers.upload())
            until(lambda: len(receiver.asked) >= len(STORY), what="all messages came")
            bodies = receiver.verified(secret)
            kinds = [body["type"] for body in bodies]
            assert sorted(kinds) == sorted(STORY)
            assert kinds[:3] == STORY[:3]
            assert kinds[-1] == "task.completed"
            last = bodies[-1]["data"]
            assert (last["task_id"], last["status"], last["progress"]) == (task, "completed", 100)
            path = last["files"][0]["mp4_url"].removeprefix("http://127.0.0.1:1/prefix")
            assert path.startswith("/media/~")
            assert server.http.get(server.url + path).status_code == 200
            assert foreign.asked == []
            tested = server.run("webhooks", "test", webhook_id)
            until(lambda: receiver.types[-1] == "webhook.test", what="the test message came")
            assert receiver.ids[-1] == tested.stdout.strip()
            listed = json.loads(server.run("webhooks", "deliveries", webhook_id, "--json").stdout)
            assert [entry["attempts"][0]["answer_status"] for entry in listed] == [200] * (len(STORY) + 1)
            assert "delivered" in server.run("webhooks", "deliveries", webhook_id).stdout
        names = {"Upload-Length": "10", "Upload-Metadata": "filename ZHJhZnQubXA0"}  # draft.mp4
        refused = callers.ask("POST", "/files", "owner", {**TUS, **names, "Accept": "application/json"})
        assert (refused.status_code, refused.json()["code"]) == (403, "refused_by_hook")
        assert "Drafts are not for upload" in refused.text
        until(lambda: file.exists() and len(file.read_text().splitlines()) == 2, what="both hooks were told")
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert {line.get("finished") or line["ended"] for line in lines} == {task}
        assert secret not in server.log()
        assert secret.removeprefix("whsec_") not in server.log()
        actions = {row["action"] for row in query(server.database_url, "SELECT action FROM audit_log")}
        assert {"webhook_added"} <= actions
    finally:
        server.close()


ASKED = """
    import os

    def pre_create(creation):
        with open(os.environ["ASKED_FILE"], "a") as file:
            file.write(creation.protocol + "\\n")
"""


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_form_that_is_sent_again_asks_no_hook(database_url: str, tmp_path: Path) -> None:
    """The answer is the stored one: nothing is created, so there is nothing to ask about."""
    site, file = hook_package.place(tmp_path / "site", "asked_hooks", ASKED, "pre_create"), tmp_path / "asked"
    server = ServerProcess(tmp_path / "served", database_url=database_url)
    server.environment = {"PYTHONPATH": str(site), "ASKED_FILE": str(file)}
    try:
        server.start()
        answered = []
        for key in ("first", "first", "second"):
            files, headers = {"videos": ("clip.mp4", video(500))}, {"Idempotency-Key": key}
            answer = server.http.post(f"{server.url}/api/upload/videos", files=files, headers=headers)
            answered.append(answer.json()["task_id"])
        assert answered[0] == answered[1] != answered[2]
        assert file.read_text().split() == ["form", "form"]
    finally:
        server.close()


def test_kills_lose_no_message_and_keep_ids(start_server: StartServer, database_url: str, tmp_path: Path) -> None:
    """kill -9 while messages wait, and between a message and its record: all come, duplicates under the same id."""
    server = start_server(database_url=database_url, webhook_allow_private="on", auth="on")
    callers = Callers(server, tmp_path)
    callers.make_keys()
    dying = threading.Event()
    dead = threading.Event()
    killed: list[str] = []

    def kills(backend: Backend, connection: socket.socket, asked: Asked) -> None:
        """The first message of the second act: the server dies before it hears of the answer."""
        if dying.is_set() and not killed:
            killed.append(asked.headers["webhook-id"])
            server.kill()
            dead.set()
            return
        TAKES(backend, connection, asked)

    with Receiver(answers(503)) as receiver:
        webhook_id, _ = add(server, receiver.url)
        task = id_of(callers.upload())
        until(lambda: receiver.asked, what="a message was tried")
        server.kill()
        receiver.behaviour = kills
        server.start()
        dying.set()  # not before: the start of the harness waits for the server
        server.run("webhooks", "replay", webhook_id, "--since", "1h")
        assert dead.wait(120)
        server.start()
        until(lambda: _is_over(server), what="all messages are delivered")
        assert receiver.ids.count(killed[0]) >= 2
        # Without a conversion the video is not playable before its task has ended.
        assert told(receiver, task) == [name for name in STORY if name != "video.playable"]
        rows = query(server.database_url, "SELECT message_id, status FROM webhook_deliveries")
        assert {row["message_id"] for row in rows} == set(receiver.ids)


@pytest.mark.soak
def test_of_two_servers_one_delivers_and_a_kill_hands_over(start_server: StartServer, postgres_url: str) -> None:
    """Two leaders with folders of their own on one database: kill -9 of the one that delivers; after its lease the
    other one sends the rest, what was on its way under the same id."""
    servers = [start_server(database_url=postgres_url, webhook_allow_private="on") for _ in range(2)]
    body = {"videos": ("clip.mp4", video(500))}
    with Receiver() as receiver:
        add(servers[0], receiver.url)
        for _ in range(3):
            for server in servers:
                server.http.post(f"{server.url}/api/upload/videos", files=body)
                until(lambda: _is_over(servers[0]), what="all messages are delivered")
            assert len(receiver.ids) == len(set(receiver.ids))
        (row,) = query(postgres_url, "SELECT worker FROM webhook_endpoints")
        nodes = [(server.data_dir / "node").read_text().strip() for server in servers]
        dead = nodes.index(str(row["worker"]).partition("/")[0])
        servers[dead].kill()
        other = servers[1 - dead]
        task = other.http.post(f"{other.url}/api/upload/videos", files=body).json()["task_id"]
        until(lambda: "task.failed" in told(receiver, task), what="the other one delivers")
        until(lambda: _is_over(other), what="all messages are delivered")
        assert told(receiver, task)[:2] == ["upload.created", "upload.finished"]
        servers[dead].start()


def _is_over(server: ServerProcess) -> bool:
    rows: list[dict[str, Any]] = query(server.database_url, "SELECT status FROM webhook_deliveries")
    return bool(rows) and all(row["status"] == "delivered" for row in rows)
