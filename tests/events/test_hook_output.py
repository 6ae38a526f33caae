"""What a hook prints: in the log, line by line, up to its bound of each minute."""

import os

import pytest
from structlog.testing import capture_logs

from server.events.hook_output import HookOutput
from tests.harness.waiting import until


class Printed:
    """An output that a test writes, and what came of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[bytes] = []
        self.output = HookOutput("package:hook", write=self.lines.append, clock=lambda: self.now)

    def print(self, data: bytes) -> None:
        """Print this, in a process of its own as it were; until all of it was read."""
        reading, writing = os.pipe()
        followed = os.fdopen(reading, "rb")
        self.output.follow(followed)
        with os.fdopen(writing, "wb") as stream:
            stream.write(data)
        until(lambda: followed.closed, what="it was read")


@pytest.fixture
def printed() -> Printed:
    return Printed()


def test_lines_come_whole(printed: Printed) -> None:
    """Also the last one, and one that is long in pieces: no line of the log is joined to one of a hook."""
    printed.print(b"one\ntwo\n" + b"3" * 5000)
    assert printed.lines == [b"one\n", b"two\n", b"3" * 4096 + b"\n", b"3" * 904 + b"\n"]


def test_what_is_more_than_the_bound_is_dropped_and_said_once(printed: Printed) -> None:
    """A minute later there is room again; a new process of the hook has no room of its own."""
    line = b"x" * 99 + b"\n"
    with capture_logs() as logs:
        printed.print(line * 2000)
        assert [entry["event"] for entry in logs] == ["hook_output_cut"]
        assert 64_000 < sum(map(len, printed.lines)) <= 65_536
        printed.lines.clear()
        printed.now = 61
        printed.print(b"later\n")
        assert printed.lines == [b"later\n"]
        assert len(logs) == 1
