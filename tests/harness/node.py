"""Running the Node clients of `tests/clients/` and reading the events that they print, a JSON object a line."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from tests.harness.waiting import PATIENCE, until

CLIENTS = Path(__file__).resolve().parents[1] / "clients"
Event = dict[str, Any]


class Run(Protocol):
    """What is asked of a running client: that of `subprocess.Popen`."""

    returncode: int | Any

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


def node() -> str:
    """The program."""
    found = shutil.which("node")
    assert found, "Node 20 is not installed"
    assert (CLIENTS / "node_modules").is_dir(), "the npm packages are missing; `make test` installs them"
    return found


class NodeClient:
    """One run of a script with its options; ended with the `with` block at the latest."""

    def __init__(self, program: str, folder: Path, /, **options: object) -> None:
        self._log = folder / f"{Path(program).stem}-{len(list(folder.glob('*.events')))}.events"
        self._errors = self._log.with_suffix(".errors")
        self._process = self._start(program, options)

    def _start(self, program: str, options: dict[str, object]) -> Run:
        with self._log.open("wb") as out, self._errors.open("wb") as err:
            return subprocess.Popen(
                [node(), str(CLIENTS / program), json.dumps(options)], stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def events(self, kind: str = "") -> list[Event]:
        """What it printed so far, only events of `kind` when given."""
        lines = self._log.read_bytes().split(b"\n")[:-1]
        found: list[Event] = [json.loads(line) for line in lines]
        return [event for event in found if kind in ("", event["event"])]

    def wait_for(self, kind: str, *, seconds: float = 60, where: Callable[[Event], bool] = bool) -> Event:
        """The first event of `kind` for which `where` holds; fails when the client ends without it."""

        def look() -> Event | None:
            ended = self._process.poll() is not None
            for event in self.events(kind):
                if where(event):
                    return event
            assert not ended, f"the client ended with {self._process.returncode}: {self._tail()}"
            return None

        found = until(look, seconds=seconds, what=f"the client says {kind!r}")
        assert found is not None
        return found

    def finish(self, *, seconds: float = 60) -> list[Event]:
        """Wait for its end, which must be a success; all its events."""
        try:
            code = self._process.wait(max(seconds, PATIENCE))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the client did not end in {seconds} s: {self._tail()}") from None
        assert code == 0, f"the client ended with {code}: {self._tail()}"
        return self.events()

    def _tail(self) -> str:
        return f"{self.events()[-5:]}\n{self._errors.read_text(errors='replace')[-2000:]}"
