"""Which files a child process may open, by Landlock (linux/landlock.h).

Rule: a file that is not named cannot be read, written, made, removed or run, whatever its owner. Landlock needs
`no_new_privs`. It holds for the calling thread and all that it starts, so it comes before the first thread. Later
versions also refuse TCP, signals to other processes and sockets by name; everything that this kernel offers is used.
"""

import contextlib
import ctypes
import os
import stat
import struct
from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same numbers on all architectures
_GET_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE, _READ, _READ_FOLDER = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_FOLDER, _MAKE_FILE = 1 << 7, 1 << 8
_REMOVE = 1 << 4 | 1 << 5
_MOVE, _TRUNCATE = 1 << 13, 1 << 14
_ALL = ((1, (1 << 13) - 1), (2, _MOVE), (3, _TRUNCATE), (5, 1 << 15))  # from this version on, these rights
_TCP, _SIGNALS_AND_SOCKETS = (4, 0b11), (6, 0b11)

_OF_A_FILE = _EXECUTE | _WRITE | _READ | _TRUNCATE
_TO_READ = _READ | _READ_FOLDER
_TO_WRITE = _TO_READ | _WRITE | _MAKE_FOLDER | _MAKE_FILE | _REMOVE | _MOVE | _TRUNCATE


def version() -> int:
    """Landlock's version in this kernel; 0 without it."""
    try:
        return max(0, int(ctypes.CDLL(None, use_errno=True).syscall(_CREATE, None, 0, _GET_VERSION)))
    except (OSError, AttributeError):  # not Linux
        return 0


def restrict(*, read: Iterable[str], run: Iterable[str], write: Iterable[str]) -> bool:
    """Restrict this process to these paths and what is below them: `run` may be read, too, and so may `write`.

    Paths that do not exist are skipped. False where the kernel refuses; then nothing is restricted.
    """
    known = version()
    if not known:
        return False
    files = sum(rights for since, rights in _ALL if since <= known)
    net = _TCP[1] if known >= _TCP[0] else 0
    scoped = _SIGNALS_AND_SOCKETS[1] if known >= _SIGNALS_AND_SOCKETS[0] else 0
    # Older kernels accept the structure only in the length that they know.
    attributes = struct.pack("=QQQ", files, net, scoped)[: 24 if known >= 6 else 16 if known >= 4 else 8]
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    rules = int(syscall(_CREATE, attributes, len(attributes), 0))
    if rules < 0:
        return False
    try:
        for paths, rights in ((read, _TO_READ), (run, _TO_READ | _EXECUTE), (write, _TO_WRITE)):
            for path in paths:
                with contextlib.suppress(OSError):
                    _allow(rules, path, rights & files)
        return int(syscall(_RESTRICT, rules, 0)) == 0
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_A_FILE
        rule = struct.pack("=Qi", rights, descriptor)
        if ctypes.CDLL(None, use_errno=True).syscall(_ADD, rules, _PATH_BENEATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), "a rule was refused", path)
    finally:
        os.close(descriptor)
