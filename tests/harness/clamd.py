"""A real clamd, from Debian's clamav-daemon, that knows one signature: the EICAR test string.

Rule: it runs in a folder of its own, listens on a Unix socket and on a free port of the loopback address, and never
outlives its test.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.ports import free_port, let_go
from tests.harness.waiting import until

# The string that every scanner knows (eicar.org), in two pieces: a scanner on the developer's machine looks at this
# file too.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-" + rb"ANTIVIRUS-TEST-FILE!$H+H*"
SIGNATURE = "Test.Videodock.Eicar.UNOFFICIAL"
"""What clamd calls it: the name in our database, and that nobody signed that."""

_CONFIG = """\
DatabaseDirectory {folder}/db
TemporaryDirectory {folder}/tmp
LocalSocket {folder}/clamd.ctl
FixStaleSocket yes
TCPAddr 127.0.0.1
TCPSocket {port}
Foreground yes
LogFile {folder}/log
LogTime yes
MaxThreads 4
MaxQueue 20
ConcurrentDatabaseReload no
SelfCheck 0
{more}
"""


class Clamd:
    """One clamd. `options` are lines of clamd.conf besides, by name."""

    def __init__(self, **options: object) -> None:
        program = shutil.which("clamd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program, "clamd is not installed; `make test` installs it"
        self._program = program
        self._options = options
        # Not below pytest's folders: the path of a Unix socket has at most 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="videodock-clamd-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def unix(self) -> str:
        """Its address for the setting `clamd`, by socket."""
        return f"unix:{self._folder / 'clamd.ctl'}"

    @property
    def tcp(self) -> str:
        """Its address by TCP."""
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it wrote."""
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start it, and wait until it answers on both addresses."""
        (self._folder / "db").mkdir(exist_ok=True)
        # One that was killed has left what it was being sent, and `received` would count that.
        shutil.rmtree(self._folder / "tmp", ignore_errors=True)
        (self._folder / "tmp").mkdir()
        # Of any type of file (0), at any offset (*).
        (self._folder / "db" / "test.ndb").write_text(f"Test.Videodock.Eicar:0:*:{EICAR.hex()}\n")
        more = "\n".join(f"{name} {value}" for name, value in self._options.items())
        config = self._folder / "clamd.conf"
        config.write_text(_CONFIG.format(folder=self._folder, port=self.port, more=more))
        with (self._folder / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [self._program, f"--config-file={config}"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        until(self._answers, seconds=30, what="clamd answers")

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        assert self._process is not None, "clamd does not run"
        self._process.kill()
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """SIGSTOP: its sockets are there, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def received(self) -> int:
        """Bytes of the files that it is being sent now."""
        total = 0
        for path in (self._folder / "tmp").rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def close(self) -> None:
        """For the end of a test."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._folder)
        let_go(self.port)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "clamd does not run"
        self._process.send_signal(number)

    def _answers(self) -> bool:
        assert self._process is not None
        out = self._folder / "out"
        assert self._process.poll() is None, f"clamd ended at its start:\n{out.read_text(errors='replace')}{self.log}"
        return all(_pong(family, place) for family, place in self._places())

    def _places(self) -> list[tuple[socket.AddressFamily, str | tuple[str, int]]]:
        return [(socket.AF_UNIX, self.unix.partition(":")[2]), (socket.AF_INET, ("127.0.0.1", self.port))]


def _pong(family: socket.AddressFamily, place: str | tuple[str, int]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as asking:
        asking.settimeout(5)
        try:
            asking.connect(place)
            asking.sendall(b"zPING\0")
            return asking.recv(64) == b"PONG\0"
        except OSError:
            return False
