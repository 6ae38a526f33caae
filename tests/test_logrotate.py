"""docs/deploy/logrotate.conf, run by Debian's logrotate as it stands, on the log of a running server."""

import gzip
import json
import shutil
import subprocess
import threading
from collections import Counter
from pathlib import Path

import httpx

from tests.harness.server_process import ROOT, ServerProcess
from tests.harness.waiting import PATIENCE, until

CONF = (ROOT / "docs/deploy/logrotate.conf").read_text()
LOGS = "/var/log/videodock/*.log"


def rotate(log: Path, folder: Path) -> None:
    """Run logrotate on that log now, whatever its age."""
    program = shutil.which("logrotate", path="/usr/sbin:/usr/bin")
    assert program, "logrotate is not installed; `make test` installs it"
    assert CONF.count(LOGS) == 1
    conf = folder / "logrotate.conf"
    conf.write_text(CONF.replace(LOGS, str(log)))
    conf.chmod(0o644)
    command = [program, "--force", "--state", str(folder / "state"), str(conf)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def counted_lines(log: Path) -> Counter[str]:
    """How often each request's id stands in the log and in what was rotated; every line is whole."""
    texts = [_content(path) for path in log.parent.glob(f"{log.name}*")]
    assert not any(b"\0" in text for text in texts), "the server writes on behind a hole"
    return Counter(json.loads(line).get("request_id", "") for text in texts for line in text.splitlines())


def _content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def ask(server: ServerProcess, name: str) -> None:
    """A request with that id."""
    assert server.http.get(f"{server.url}/healthz", headers={"X-Request-ID": name}).status_code == 200


def logged(server: ServerProcess, log: Path, name: str) -> None:
    """Wait until that request, whose answer came before its line, stands in the log."""
    until(lambda: f'"{name}"' in log.read_text(), seconds=10, what=f"{name} is logged")


def test_a_rotation_loses_no_line_while_none_is_written(server: ServerProcess, tmp_path: Path) -> None:
    """Every request stands in the log or in what was rotated, once; the log begins anew and the server writes on."""
    log = tmp_path / "server-0" / "server.err"
    for turn in range(3):
        for number in range(50):
            ask(server, f"turn-{turn}-{number}")
        logged(server, log, f"turn-{turn}-49")
        rotate(log, tmp_path)
        assert log.stat().st_size == 0
    ask(server, "last")
    logged(server, log, "last")
    assert 0 < log.stat().st_size < 1000
    assert {path.name for path in log.parent.glob("server.err*")} == {
        "server.err",
        "server.err.1",
        "server.err.2.gz",
        "server.err.3.gz",
    }
    names = ["last", *(f"turn-{turn}-{number}" for turn in range(3) for number in range(50))]
    counts = counted_lines(log)
    assert {name: counts[name] for name in names} == dict.fromkeys(names, 1)


def test_a_rotation_under_load_loses_only_lines_written_during_it(server: ServerProcess, tmp_path: Path) -> None:
    """With requests all the time nothing is written twice or torn, and what came between rotations is all there."""
    log = tmp_path / "server-0" / "server.err"
    stop, asked, first = threading.Event(), 0, 0

    def keep_asking() -> None:
        nonlocal asked
        with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
            while not stop.is_set():
                client.get(f"{server.url}/healthz", headers={"X-Request-ID": f"busy-{asked}"})
                asked += 1

    thread = threading.Thread(target=keep_asking)
    thread.start()
    may_be_lost: set[str] = set()
    try:
        for _ in range(5):
            until(lambda first=first: asked > first + 50, seconds=30, what="there are new lines")  # type: ignore[misc]
            in_log = log.read_text().rpartition("\n")[0]  # the last line may be half written
            rotate(log, tmp_path)
            # The line of a request is written a moment after its answer, and another may be under way.
            last = asked
            names = {f"busy-{number}" for number in range(first, last + 1)}
            may_be_lost |= {name for name in names if f'"{name}"' not in in_log}
            first = last
        until(lambda: asked > first + 10, seconds=30, what="there are lines after the last rotation")
    finally:
        stop.set()
        thread.join(PATIENCE)
    logged(server, log, f"busy-{asked - 1}")
    counts = counted_lines(log)
    names = {f"busy-{number}" for number in range(asked)}
    assert max(counts[name] for name in names) == 1
    assert {name for name in names if counts[name] == 0} <= may_be_lost
