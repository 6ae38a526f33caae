"""Namespaces of a child process: a network with nothing in it, and process numbers of its own.

Rule: best effort, and never worse than before. A kernel or a container may refuse. To be called while the process has
one thread, which is also why a fork is safe here and nowhere else.

A process cannot change its own number, so the job becomes a grandchild: the process that the server started waits for
the first process of the new namespace, and that one for the job. When the first process of a namespace ends, the kernel
kills every other one in it: no program can outlive its job, whatever session or group it moves to.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
from pathlib import Path
from typing import NoReturn

_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x08000000, 0x10000000, 0x20000000, 0x40000000
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_STDIN = 0
_GRACE = 200  # milliseconds; less than the server waits
_SIGNALLED = 128  # plus the number of the signal: how the first process reports the signal that ended the job


def enter() -> frozenset[str]:
    """Move to new namespaces: `network` and `processes`, those that were possible.

    With `processes`, it returns in the grandchild only; the two processes above pass its end on.
    """
    try:
        unshare = ctypes.CDLL(None, use_errno=True).unshare
    except (OSError, AttributeError):  # not Linux
        return frozenset()
    user, group = os.geteuid(), os.getegid()
    # Root would lose its right to read other users' files in a user namespace.
    if user != 0 and unshare(_CLONE_NEWUSER) == 0:
        # Files are still opened as the same user; this only keeps our user number.
        with contextlib.suppress(OSError):
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    unshare(_CLONE_NEWIPC)
    entered = {"network"} if unshare(_CLONE_NEWNET) == 0 else set()
    if unshare(_CLONE_NEWPID) == 0:
        _become_grandchild()
        entered.add("processes")
    return frozenset(entered)


def _become_grandchild() -> None:
    first = os.fork()
    if first:
        _hand_on(first)
    # The signal comes from outside of the namespace, so its first process obeys.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    job = os.fork()
    if job:
        _reap(job)


def _reap(job: int) -> NoReturn:
    """The first process: wait for all processes until the job has ended, and exit with its code."""
    while True:
        pid, status = os.wait()
        if pid == job:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else _SIGNALLED - code)


def _hand_on(first: int) -> NoReturn:
    """The process that the server started: end as the job did, and end all when the server is gone."""
    with contextlib.suppress(OSError, AttributeError):  # a kernel before 5.3: the job's own watch has to suffice
        watched, end = select.poll(), os.pidfd_open(first)
        watched.register(end, select.POLLIN)
        watched.register(_STDIN, select.POLLHUP)
        watched.poll()
        watched.unregister(_STDIN)
        # The job sees the end of standard input, too; if it ends by itself, its processor time is counted as ours.
        if not watched.poll(_GRACE):
            os.kill(first, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    number = -code if code < 0 else code - _SIGNALLED
    if number <= 0:
        os._exit(code)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(1)
