"""A child process cannot leave: what a video that took over a decoder could do, tried from within.

Which protections this kernel has is found out beside the product, and all that it has must stand.
"""

import ctypes
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from server.errors import StepError
from server.pipeline.media import ffmpeg
from server.pipeline.order import STEPS
from server.pipeline.sandbox import child, confinement, seccomp
from server.pipeline.step import Limits, Step
from tests import samples
from tests.pipeline import escapes
from tests.pipeline.conftest import Contexts

ROOT = Path(__file__).parents[2]
NOBODY = 65534
WORKERS = [step for step in STEPS if step.name in ("poster", "mp4", "hls")]


def run(job: str, **arguments: object) -> Mapping[str, Any]:
    return child.run(
        job, arguments, limits=Limits(60, 1 << 30), cancelled=threading.Event(), report=lambda percent: None
    )


def has(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def supported() -> set[str]:
    """What this kernel lets this user do, asked by other means."""
    user = () if os.geteuid() == 0 else ("-U",)
    libc = ctypes.CDLL(None, use_errno=True)
    found = {"capabilities", "no_new_privileges", "oom_first"}
    found |= {"network"} if has("unshare", *user, "-n", "true") else set()
    found |= {"processes"} if has("unshare", *user, "-f", "-p", "true") else set()
    found |= {"files"} if libc.syscall(444, None, 0, 1) >= 1 else set()
    if "Seccomp_filters" in Path("/proc/self/status").read_text() and platform.machine() in ("x86_64", "aarch64"):
        found.add("system_calls")
    if has("setpriv", "--reuid", "1879048192", "true") or has("unshare", "-U", "true"):
        found.add("process_limit")
    return found


def test_every_available_protection_is_active() -> None:
    """Every protection that can be had here is there, and the names are those of the log and `/readyz`."""
    standing = set(run("server.pipeline.sandbox.confinement:tell")["standing"])
    assert standing == supported()
    assert standing <= set(confinement.PROTECTIONS)


class ConfinedFolder:
    """A data folder as the server has it, and what an attempt to leave is told of it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.original, self.output = folder / "data" / "uploads" / "mine", folder / "data" / "work" / "output"
        self.secrets = [folder / "data" / "videodock.db", folder / "data" / "uploads" / "other", folder / "code.py"]
        for path in (self.original, *self.secrets):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"secret")
        self.output.mkdir(parents=True)
        self.given: dict[str, Any] = {
            "path": str(self.original),
            "output": str(self.output),
            "read": [*map(str, self.secrets), "/etc/passwd", f"/proc/{os.getpid()}/environ"],
            "write": [*map(str, self.secrets), str(self.original), str(self.output.parent / "beside"), "/tmp/outside"],
            "port": port,
            "server": os.getpid(),
            "is_root": os.geteuid() == 0,
        }

    def check(self, found: Mapping[str, Any], stands: set[str]) -> None:
        """Nothing was possible of what these protections are against."""
        if "files" in stands:
            assert (found["read"], found["written"], found["removed"]) == ([], [], [])
            assert all(path.read_bytes() == b"secret" for path in (self.original, *self.secrets))
        if stands & {"network", "system_calls"}:
            assert not found["connected"]
        if stands & {"processes", "files"}:
            assert not found["signalled"]
        if "system_calls" in stands:
            assert (found["traced"], found["calls"]) == (False, [])
        if "capabilities" in stands:
            # Root keeps the right to open files (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH), where Landlock lets it.
            assert found["capabilities"] == (0b110 if os.geteuid() == 0 else 0)
            assert not found["regained"]
        assert found["threads"]


@pytest.fixture
def prison(tmp_path: Path) -> Iterator[ConfinedFolder]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield ConfinedFolder(tmp_path, server.getsockname()[1])


def test_a_confined_job_reaches_nothing_outside(prison: ConfinedFolder) -> None:
    """Database, other uploads, network, other processes, kernel: nothing; and its processes have a bound."""
    stands = supported()
    found = run("tests.pipeline.escapes:attempt", **prison.given)
    prison.check(found, stands)
    if "process_limit" in stands:
        assert 0 < found["processes"] < 512


@pytest.fixture
def traitor(prison: ConfinedFolder) -> Path:
    """A program in the place of FFmpeg that tries to leave."""
    path = prison.output.parent / "ffmpeg"
    given = prison.given | {"write": [one for one in prison.given["write"] if one != str(prison.original)]}
    path.write_text(
        f"#!{sys.executable}\nimport runpy, sys\nsys.argv[1:] = [{json.dumps(given)!r}]\n"
        f"exec(compile({Path(escapes.__file__).read_text()!r}, 'escapes', 'exec'))\n"
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("step", WORKERS, ids=lambda step: step.name)
def test_a_confined_ffmpeg_reaches_nothing_outside(
    step: Step, prison: ConfinedFolder, traitor: Path, context: Contexts, tmp_path: Path
) -> None:
    """The same from the program of each step that starts one; it may have threads, and not one more process."""
    source = samples.make(tmp_path, "a.mp4", size="64x48", seconds=1)
    given = context(source, ffmpeg=str(traitor), output=prison.output, settings={"transcode": "both"})
    with pytest.raises(StepError):
        step.run(given)
    found = json.loads((prison.output / "found.json").read_text())
    prison.check(found, supported())
    if "system_calls" in supported():
        assert found["processes"] == 0


@pytest.fixture
def nobodys_folder() -> Iterator[Path]:
    """A folder that only the user nobody can open; those of pytest are closed to it."""
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, NOBODY, NOBODY)
        yield Path(name)


_AS_NOBODY = """
import encodings.idna, json, os, sys
from tests.pipeline import escapes
from server.pipeline.sandbox import confinement
os.setgroups([]); os.setresgid({0}, {0}, {0}); os.setresuid({0}, {0}, {0})
import ctypes; ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # a user who was no root before may open his own /proc
given = json.loads(sys.argv[1])
confinement.confine({{"read": [given["path"]], "write": [given["output"]]}}, confinement.enter_namespaces())
print(json.dumps([confinement.tell({{}}, print), escapes.attempt(given)]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else; the other tests are the same then")
def test_a_job_of_an_ordinary_user_is_confined_too(nobodys_folder: Path) -> None:
    """An ordinary user gets the same by a user namespace, stays who it is, and has no rights besides."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        prison = ConfinedFolder(nobodys_folder, server.getsockname()[1])
        for path in nobodys_folder.rglob("*"):
            os.chown(path, NOBODY, NOBODY)
        command = [sys.executable, "-c", _AS_NOBODY.format(NOBODY), json.dumps(prison.given)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr.decode()
    report, found = json.loads(done.stdout)
    stands = set(report["standing"])
    assert stands >= {"files", "system_calls"} & supported()
    assert ("network" in stands) == has(*_as_nobody("unshare", "-U", "-n", "true"))
    assert ("processes" in stands) == has(*_as_nobody("unshare", "-U", "-f", "-p", "true"))
    assert (found["user"], found["capabilities"]) == (NOBODY, 0)
    assert not found["connected"]
    if "files" in stands:
        assert (found["read"], found["written"]) == ([], [])
    if "process_limit" in stands:
        assert 0 < found["processes"] < 512


def _as_nobody(*command: str) -> Sequence[str]:
    return ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", *command)


_POSTER = """
import sys, threading
from pathlib import Path
from server.pipeline.sandbox import child
from server.pipeline.step import Limits
given = {"path": sys.argv[1], "output": sys.argv[2], "ffmpeg": sys.argv[3], "demuxer": "mov", "max_pixels": 10000,
         "max_streams": 10, "name": "poster.jpg", "edge": 64, "duration": 1.0, "seconds": 60}
run = lambda job, given: child.run(job, given, limits=Limits(60, 1 << 30), cancelled=threading.Event(),
                                   report=lambda _: None)
run("server.pipeline.jobs.poster:make", given)
print(" ".join(run("server.pipeline.sandbox.confinement:tell", {})["standing"]))
"""


@pytest.mark.sampled(2)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities that a container could take away")
@pytest.mark.parametrize(
    "left",
    [
        "-all",
        "-all,+dac_override,+setuid,+setgid,+setpcap,+chown,+kill",
        "-all,+dac_override,+setuid,+setgid,+setpcap,+chown",
        "-all,+setuid,+setgid,+setpcap,+chown,+kill",
    ],
    ids=["none", "as containers have them", "none to kill", "none for files"],
)
def test_root_in_a_container_still_makes_posters(left: str, tmp_path: Path) -> None:
    """With whatever capabilities are left: the original can be read, and what cannot be had is missing, no more."""
    source = samples.make(tmp_path, "a.mp4", size="64x48", seconds=1)
    output = tmp_path / "output"
    output.mkdir(mode=0o700)
    source.chmod(0o600)
    command = ["setpriv", f"--bounding-set={left}", sys.executable, "-c", _POSTER, str(source), str(output)]
    done = subprocess.run([*command, ffmpeg.find("auto")], cwd=ROOT, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert (output / "poster.jpg").stat().st_size > 0
    assert {"capabilities", "no_new_privileges"} <= set(done.stdout.decode().split())


def test_results_belong_to_the_user_of_the_server(context: Contexts, tmp_path: Path) -> None:
    """Whatever user a child of root becomes: its results are the server's own."""
    source = samples.make(tmp_path, "a.mp4", size="64x48", seconds=1)
    poster = next(step for step in STEPS if step.name == "poster")
    given = context(source)
    poster.run(given)
    assert {path.stat().st_uid for path in (given.output, *given.output.rglob("*"))} == {os.geteuid()}


def test_the_filter_is_the_same_on_both_architectures() -> None:
    """What is refused on one machine is refused on the other, but for calls that the other has not."""
    x86, arm = (set(table) for table in (seccomp._REFUSED["x86_64"], seccomp._REFUSED["aarch64"]))
    assert x86 - arm == {"iopl", "ioperm", "modify_ldt", "mknod"}
    assert arm <= x86
    for machine in ("x86_64", "aarch64"):
        program = seccomp._program(machine, may_start=False)
        assert len(program) % 8 == 0
        assert len(seccomp._program(machine, may_start=True)) < len(program)
    assert seccomp._program("riscv64", may_start=True) == b""
