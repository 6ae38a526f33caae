"""Leaving the network: a network namespace of one's own, with nothing in it.

Rule: best effort, and never worse than before. A kernel or a container may refuse; then the protocol whitelist of
FFmpeg stands alone. To be called while the process has one thread.
"""

import contextlib
import ctypes
import os
from pathlib import Path

# linux/sched.h and linux/capability.h
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CAPABILITIES_VERSION = 0x20080522


def leave_network() -> bool:
    """Move this process, and those that it starts, to where there is no network; whether that was possible."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        unshare = libc.unshare
    except (OSError, AttributeError):  # not Linux
        return False
    if unshare(_CLONE_NEWNET) == 0:
        return True
    # Root would lose its right to read the files of others in a user namespace.
    user, group = os.geteuid(), os.getegid()
    if user == 0 or unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    # Files are still opened as the same user; this is only so that we are called by the same number.
    with contextlib.suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    # A namespace's owner may do much within it, and a decoder needs nothing of that.
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())
    return True
