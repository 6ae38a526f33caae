"""Where the processor time of tests goes: `python -m tests.harness.processor_time FILE…`, as root, on Linux.

Rule: it counts processor seconds and not the clock's, so that it means the same on a busy machine. Each file runs in a
PID namespace of its own, whose kernel writes a record of each process when it ends (acct(2)): servers, browsers,
encoders and databases count, whichever process waits for them.
"""

import ctypes
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

# Of struct acct_v3 (linux/acct.h): flags, user and system time, program.
_RECORD = struct.Struct("=B31xHH12x16s")
_FORKED = 1  # AFORK: it is the fork of a program, and has started none itself
_TICKS = 100  # AHZ
_NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@dataclass
class Spent:
    """Processor seconds, and how many processes, by program."""

    seconds: dict[str, float] = field(default_factory=dict)
    processes: dict[str, int] = field(default_factory=dict)

    def add(self, records: bytes) -> None:
        """Add what the kernel wrote."""
        for flag, user, system, name in _RECORD.iter_unpack(records):
            program = name.partition(b"\0")[0].decode(errors="replace") + (" (fork)" if flag & _FORKED else "")
            self.seconds[program] = self.seconds.get(program, 0.0) + (_ticks(user) + _ticks(system)) / _TICKS
            self.processes[program] = self.processes.get(program, 0) + 1

    def __str__(self) -> str:
        most = sorted(self.seconds, key=lambda program: -self.seconds[program])[:12]
        shown = [f"{name} {self.seconds[name]:.1f}/{self.processes[name]}" for name in most if self.seconds[name] > 0.1]
        return f"{sum(self.seconds.values()):7.1f} s: {', '.join(shown)}"


def main() -> int:
    """Print, of each file and of all: processor seconds, and for each program its seconds and its processes."""
    if sys.argv[1] == "--inside":
        return _inside(Path(sys.argv[2]), sys.argv[3:])
    total = Spent()
    # As `python -m tests`: with bytecode.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory(prefix="videodock-acct-") as folder:
        for number, name in enumerate(sys.argv[1:]):
            records, began = Path(folder, str(number)), time.monotonic()
            records.touch()
            command = [*_NAMESPACE, sys.executable, "-m", "tests.harness.processor_time", "--inside", str(records)]
            ended = subprocess.run([*command, name], check=False, capture_output=True, text=True, env=environment)
            spent = Spent()
            spent.add(records.read_bytes())
            total.add(records.read_bytes())
            last = ended.stdout.strip().rpartition("\n")[2].strip("= ")
            print(f"{spent} [{name}, {time.monotonic() - began:.0f} s: {last}]", flush=True)
    print(f"{total} [all]")
    return 0


def _inside(records: Path, arguments: list[str]) -> int:
    """The first process of the namespace: count, run pytest, end what it left."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.acct(os.fsencode(records)) != 0:
        raise OSError(ctypes.get_errno(), "acct")
    code = subprocess.run([sys.executable, "-m", "pytest", "-q", *arguments], check=False).returncode
    for number in [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]:
        if number != os.getpid():
            os.kill(number, signal.SIGKILL)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return code


def _ticks(number: int) -> int:
    """The value of a `comp_t`: 13 bits, and 3 of an exponent of 8."""
    return (number & 0x1FFF) << (3 * (number >> 13))


if __name__ == "__main__":
    sys.exit(main())
