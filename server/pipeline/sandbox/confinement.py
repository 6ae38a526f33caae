"""The confinement of a child process: what it may touch once it reads bytes of an untrusted file.

Rule: each protection is tried by itself, and none needs another: what this kernel refuses is reported, and the rest
stays in force. Applied before the first hostile byte and before the first thread; it holds for FFmpeg, too, which the
child starts. `docs/sandbox.md` says what each is for.
"""

import contextlib
import ctypes
import os
import platform
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.pipeline.sandbox import landlock, network_namespace, seccomp

PROTECTIONS = (
    "network",
    "processes",
    "process_limit",
    "capabilities",
    "no_new_privileges",
    "files",
    "system_calls",
    "oom_first",
)
"""All protections, by the names that the log and `/readyz` use."""

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 8, 24, 38, 47
_AMBIENT_RAISE = 2
_CAPABILITIES_VERSION = 0x20080522  # linux/capability.h
_LAST_CAPABILITY = 63
# The capabilities that root keeps, to read another user's data folder. Landlock restricts them to its files.
_CAP_CHOWN, _CAP_DAC_OVERRIDE, _CAP_KILL = 0, 1, 5
_KEPT = (_CAP_DAC_OVERRIDE, 2)  # and CAP_DAC_READ_SEARCH

_PROCESSES = 512  # and threads, of one child with all that it starts
_USERS = 0x70000000  # from this number on, each child of root is a user of its own, so that the limit counts it alone
_NUMBERS = 0x400000  # of processes, at most
_COUNTED_SINCE = (5, 14)  # Linux counts the processes of a user in each user namespace since then

_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store")
_SYSTEM_FILES = (
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/dev/urandom",
    "/dev/zero",
    "/sys/devices/system/cpu",
)
_OWN = str(Path(__file__).parents[2])  # the package

_standing: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Entered:
    """The protections of the first part, and the user that root becomes: no other child has its number."""

    standing: frozenset[str]
    user: int


def enter_namespaces() -> Entered:
    """The first part, before any restriction: `oom_first`, `network` and `processes`, as far as they are possible."""
    standing, user = set(), _USERS + os.getpid() % _NUMBERS
    # When memory runs out, the kernel kills a child before the database. Landlock closes the file for this later.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
        standing.add("oom_first")
    had_user_namespace = _user_namespace()
    standing |= network_namespace.enter()
    if _is_counted_alone(had_user_namespace):
        standing.add("process_limit")
    return Entered(frozenset(standing), user)


def confine(files: Mapping[str, Sequence[str]], entered: Entered) -> Callable[[], None]:
    """The second part. `files` are what the job may `read`, `run` and `write` besides the system's and Python's own.

    Returns a function that a program's process calls before it becomes that program: FFmpeg may have threads, but
    starts no process.
    """
    global _standing  # of the whole process
    standing = set(entered.standing)
    libc = ctypes.CDLL(None, use_errno=True)
    limits = (_PROCESSES, _PROCESSES)
    if _drop_rights(libc, entered.user):
        standing.add("capabilities")
    if os.geteuid() >= _USERS:
        standing.add("process_limit")
    if "process_limit" in standing:
        resource.setrlimit(resource.RLIMIT_NPROC, limits)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        standing.add("no_new_privileges")
    if landlock.restrict(
        read=(*_SYSTEM_FILES, *files.get("read", ())),
        run=(*_SYSTEM, *_python(), *_of_program(files.get("run", ()))),
        write=("/dev/null", *files.get("write", ())),
    ):
        standing.add("files")
    for_programs = seccomp.Filter(may_start=False)
    if seccomp.Filter(may_start=True).put_on():
        standing.add("system_calls")
    _standing = frozenset(standing)

    def before_program() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for_programs.put_on()

    return before_program


def tell(_arguments: Mapping[str, Any], _report: Callable[[int], None]) -> Mapping[str, object]:
    """A job that only reports which protections are in force."""
    return {"standing": sorted(_standing)}


def _user_namespace() -> str:
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/user").readlink())
    return ""


def _is_counted_alone(before: str) -> bool:
    """Whether a limit of processes counts this child alone, and not all processes of its user."""
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdigit())
    return bool(before) and before != _user_namespace() and release >= _COUNTED_SINCE


def _python() -> Sequence[str]:
    """The folders of Python and its imports; never the working directory, which may have the data folder."""
    roots = {sys.prefix, sys.base_prefix, _OWN}
    # Dependencies may be elsewhere (PYTHONPATH, .pth files). A checkout has more than packages.
    roots |= {path for path in sys.path if path.rstrip("/").endswith(("site-packages", "dist-packages"))}
    return sorted(roots - {"/"})


def _of_program(paths: Sequence[str]) -> Sequence[str]:
    """A program, the target of its link, and the folder `lib` beside its own, where one is."""
    found: list[str] = []
    for path in paths:
        real = Path(path).resolve()
        found += [path, str(real), *([str(real.parent.parent / "lib")] if real.parent.name == "bin" else [])]
    return found


def _drop_rights(libc: ctypes.CDLL, user: int) -> bool:
    """Give up every capability; root becomes a user of its own, and keeps the right to open files."""
    # A container may have taken some from root before.
    permitted = {number for number in range(_LAST_CAPABILITY + 1) if _permitted(libc) >> number & 1}
    kept = [number for number in _KEPT if number in permitted] if os.geteuid() == 0 else []
    for number in range(_LAST_CAPABILITY + 1):
        if number not in kept:
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    # Without one of these another user could not open the original, or the server not end it or own its files.
    if kept and permitted >= {_CAP_DAC_OVERRIDE, _CAP_CHOWN, _CAP_KILL}:
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
        with contextlib.suppress(OSError):  # a container may not have so many users
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
    rights = sum(1 << number for number in kept)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    # Effective, permitted, inheritable; then the same for the numbers from 32 on.
    if libc.capset(header, (ctypes.c_uint32 * 6)(rights, rights, rights, 0, 0, 0)) != 0:
        return False
    for number in kept:
        libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, number, 0, 0)
    return True


def _permitted(libc: ctypes.CDLL) -> int:
    data = (ctypes.c_uint32 * 6)()
    libc.capget((ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0), data)
    return data[1] | data[4] << 32
