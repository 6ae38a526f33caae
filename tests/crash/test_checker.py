"""The checker sees what it is there for: each kind of damage, done by hand while the server does not look."""

from collections.abc import Callable

import pytest

from tests.crash.claims import Claim, check
from tests.crash.recording_client import RecordingClient
from tests.crash.restarted_server import RestartedServer
from tests.crash.scenarios import HALF, LENGTH

Damage = Callable[[RestartedServer, Claim, Claim], object]


def _orphan(server: RestartedServer, _open: Claim, _whole: Claim) -> object:
    server.path("ff" * 18).parent.mkdir(exist_ok=True)
    return server.path("ff" * 18).write_bytes(b"")


def _task_twice(server: RestartedServer, _open: Claim, whole: Claim) -> None:
    columns = (
        "owner, node, status, partial, progress, current_file, file_count, attempt, failures, created_at, updated_at"
    )
    server.execute(
        f"INSERT INTO tasks (id, {columns}) SELECT 'twice', {columns} FROM tasks WHERE id = :id", id=whole.id
    )


def _no_task(server: RestartedServer, _open: Claim, whole: Claim) -> None:
    for statement in (
        "DELETE FROM task_events WHERE task_id = :id",
        "DELETE FROM task_files WHERE task_id = :id",
        "DELETE FROM tasks WHERE id = :id",
    ):
        server.execute(statement, id=whole.id)


def _remove_file(server: RestartedServer, one: Claim, _whole: Claim) -> None:
    server.path(str(one.id)).unlink()


def _lose_row(server: RestartedServer, one: Claim, whole: Claim) -> None:
    _remove_file(server, one, whole)
    server.execute("DELETE FROM uploads WHERE id = :id", id=one.id)


def _change_byte(server: RestartedServer, claim: Claim, at: int) -> None:
    with server.path(str(claim.id)).open("r+b") as file:
        file.seek(at)
        file.write(b"\x00" if claim.data[at] else b"\x01")


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a file without a row": (_orphan, "files without a row"),
    "a row without its file": (_remove_file, "rows without their file"),
    "bytes of what is gone": (
        lambda server, one, _: server.execute("UPDATE uploads SET status = 'expired' WHERE id = :id", id=one.id),
        "bytes of what is gone",
    ),
    "a task twice": (_task_twice, "tasks .*twice"),
    "a task missing": (_no_task, "files of tasks"),
    "an event twice": (
        lambda server, _, whole: server.execute(
            "INSERT INTO task_events (task_id, owner, at, type, attempt) "
            "SELECT task_id, owner, at, type, attempt FROM task_events WHERE task_id = :id",
            id=whole.id,
        ),
        "events .*uploaded",
    ),
    "a byte less than acknowledged": (
        lambda server, one, _: server.path(str(one.id)).write_bytes(one.data[: HALF - 1]),
        "were expected",
    ),
    "a byte more than was sent": (
        lambda server, one, _: server.path(str(one.id)).write_bytes(one.data[: HALF + 1]),
        "were expected",
    ),
    "another byte": (lambda server, one, _: _change_byte(server, one, HALF - 1), "not those that were sent"),
    "another byte of a task": (
        lambda server, _, whole: _change_byte(server, whole, LENGTH - 1),
        "not those that were sent",
    ),
    "unchecked bytes": (
        lambda server, one, _: server.execute("UPDATE uploads SET checked_from = 1 WHERE id = :id", id=one.id),
        "unchecked bytes",
    ),
    "a leftover among the locks": (
        lambda server, one, _: (server.data_dir / "locks" / str(one.id)).write_bytes(b""),
        "locks",
    ),
    "a row that is lost": (_lose_row, "was acknowledged and has no row"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_the_crash_checker_finds_each_damage(name: str) -> None:
    """Nothing is wrong before, and the right thing afterwards."""
    damage, message = DAMAGES[name]
    with RestartedServer() as fresh:
        client = RecordingClient(fresh)
        one = client.create(client.video(LENGTH))
        client.patch(one, HALF)
        whole = client.create(client.video(LENGTH), body=True)
        check(fresh, client.claims)
        damage(fresh, one, whole)
        with pytest.raises(AssertionError, match=message):
            check(fresh, client.claims)
