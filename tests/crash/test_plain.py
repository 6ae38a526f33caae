"""The same without the fork server: `python -m` for the server that dies, the one that follows, and the sweep."""

import signal
from pathlib import Path

import pytest

from tests.harness.http import Connection
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import until
from tests.tus.client import MOUNT, VERSION, creation, id_of, patch_headers, target, video

pytestmark = pytest.mark.acceptance
DATA = video(5000)


def test_a_kill_after_the_last_byte_costs_nothing(tmp_path: Path) -> None:
    """Named by the environment: killed behind the transaction of the creation, and with every byte but no task."""
    server = ServerProcess(tmp_path, scheduler="none")
    server.module = "tests.harness.faulty_server"
    server.environment = {"FAULT": "store.finish.before:1"}
    server.start()
    with Connection(server.port) as connection:
        upload = id_of(connection.ask("POST", MOUNT, creation(len(DATA))))
        with pytest.raises(ConnectionError):
            connection.ask("PATCH", target(upload), patch_headers(0), DATA)
    until(lambda: not server.running, seconds=5, what="the server is dead")
    assert _status(server, upload) == "open"
    server.module, server.environment = "server", {}
    swept = server.run("sweep")
    assert (swept.returncode, "finished: 1" in swept.stdout) == (0, True), swept
    server.start()
    try:
        assert server.stored(upload).read_bytes() == DATA
        with Connection(server.port) as connection:
            answer = connection.ask("HEAD", target(upload), VERSION)
        assert (answer.headers["upload-offset"], answer.headers["upload-task"]) == (str(len(DATA)), upload)
        assert server.status(upload)["status"] == "uploaded"
    finally:
        server.close()


def test_a_killed_sweep_is_completed_by_the_next(tmp_path: Path) -> None:
    """Killed between the row and the file of an expired upload; the next sweep ends it."""
    server = ServerProcess(tmp_path, scheduler="none", upload_expiry=1)
    server.start()
    with Connection(server.port) as connection:
        upload = id_of(connection.ask("POST", MOUNT, creation(len(DATA))))
    server.kill()
    server.module, server.environment = "tests.harness.faulty_server", {"FAULT": "store.delete.before:1"}
    killed = until(lambda: _killed(server), seconds=20, what="a sweep finds the upload expired")
    assert killed
    assert (_status(server, upload), server.stored(upload).exists()) == ("expired", True)
    server.module, server.environment = "server", {}
    assert "removed: 1" in server.run("sweep").stdout
    assert server.stored_files() == []
    server.close()


def _killed(server: ServerProcess) -> bool:
    code = server.run("sweep").returncode
    assert code in (0, -signal.SIGKILL)
    return code != 0


def _status(server: ServerProcess, upload: str) -> str:
    from tests.harness.rows import query

    return str(query(server.database_url, "SELECT status FROM uploads WHERE id = :id", id=upload)[0]["status"])
