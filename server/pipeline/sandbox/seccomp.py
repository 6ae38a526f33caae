"""System calls that a child process is refused, by a seccomp filter.

Rule: a list of what decoding a video never needs, not of what it needs: FFmpeg, x264 and libc differ from
one version to the next. A refused call gets EPERM, so that a harmless use of it (a name service that opens a socket)
fails and no video does. Needs `no_new_privs`. Holds for the calling thread and all that it starts.

The filter is a classic BPF program (linux/filter.h) over `struct seccomp_data` (linux/seccomp.h).
"""

import ctypes
import errno
import platform
import struct
from collections.abc import Mapping, Sequence

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2  # linux/prctl.h, linux/seccomp.h
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000

_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_AT_NUMBER, _AT_ARCH, _AT_FIRST_ARGUMENT = 0, 4, 16  # the lower half of the argument, on little-endian machines

_CLONE_THREAD = 0x00010000
_NEW_NAMESPACES = 0x7E020080  # all CLONE_NEW* of linux/sched.h
_X32 = 0x40000000  # calls of the x32 ABI are numbered from here; x86-64 kernels may have them

# Audit number of the architecture (linux/audit.h), numbers of clone, clone3, and of what makes a whole process.
_ARCHITECTURES: Mapping[str, tuple[int, int, int, Sequence[int]]] = {
    "x86_64": (0xC000003E, 56, 435, (57, 58)),
    "aarch64": (0xC00000B7, 220, 435, ()),
}

_REFUSED: Mapping[str, Mapping[str, int]] = {
    "x86_64": {
        # Sockets: a child talks to no other process.
        "socket": 41,
        "connect": 42,
        "accept": 43,
        "sendto": 44,
        "bind": 49,
        "listen": 50,
        "socketpair": 53,
        "accept4": 288,
        # Other processes: their memory, and what they do.
        "ptrace": 101,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "kcmp": 312,
        "perf_event_open": 298,
        # Mounts and namespaces.
        "chroot": 161,
        "mount": 165,
        "umount2": 166,
        "pivot_root": 155,
        "unshare": 272,
        "setns": 308,
        "name_to_handle_at": 303,
        "open_by_handle_at": 304,
        "fanotify_init": 300,
        # Keys, and parts of the kernel with frequent vulnerabilities.
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "bpf": 321,
        "userfaultfd": 323,
        "personality": 135,
        # The machine.
        "iopl": 172,
        "ioperm": 173,
        "modify_ldt": 154,
        "swapon": 167,
        "swapoff": 168,
        "reboot": 169,
        "sethostname": 170,
        "setdomainname": 171,
        "init_module": 175,
        "delete_module": 176,
        "finit_module": 313,
        "kexec_load": 246,
        "kexec_file_load": 320,
        "acct": 163,
        "quotactl": 179,
        "syslog": 103,
        "vhangup": 153,
        "settimeofday": 164,
        "adjtimex": 159,
        "clock_settime": 227,
        "clock_adjtime": 305,
        "mknod": 133,
        "mknodat": 259,
        # IPC of System V and POSIX: it outlives its processes.
        "shmget": 29,
        "shmat": 30,
        "shmctl": 31,
        "semget": 64,
        "semop": 65,
        "semctl": 66,
        "msgget": 68,
        "msgsnd": 69,
        "msgrcv": 70,
        "msgctl": 71,
        "semtimedop": 220,
        "mq_open": 240,
        "mq_unlink": 241,
    },
    "aarch64": {
        "socket": 198,
        "connect": 203,
        "accept": 202,
        "sendto": 206,
        "bind": 200,
        "listen": 201,
        "socketpair": 199,
        "accept4": 242,
        "ptrace": 117,
        "process_vm_readv": 270,
        "process_vm_writev": 271,
        "kcmp": 272,
        "perf_event_open": 241,
        "chroot": 51,
        "mount": 40,
        "umount2": 39,
        "pivot_root": 41,
        "unshare": 97,
        "setns": 268,
        "name_to_handle_at": 264,
        "open_by_handle_at": 265,
        "fanotify_init": 262,
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "bpf": 280,
        "userfaultfd": 282,
        "personality": 92,
        "swapon": 224,
        "swapoff": 225,
        "reboot": 142,
        "sethostname": 161,
        "setdomainname": 162,
        "init_module": 105,
        "delete_module": 106,
        "finit_module": 273,
        "kexec_load": 104,
        "kexec_file_load": 294,
        "acct": 89,
        "quotactl": 60,
        "syslog": 116,
        "vhangup": 58,
        "settimeofday": 170,
        "adjtimex": 171,
        "clock_settime": 112,
        "clock_adjtime": 266,
        "mknodat": 33,
        "shmget": 194,
        "shmctl": 195,
        "shmat": 196,
        "semget": 190,
        "semctl": 191,
        "semtimedop": 192,
        "semop": 193,
        "msgget": 186,
        "msgctl": 187,
        "msgrcv": 188,
        "msgsnd": 189,
        "mq_open": 180,
        "mq_unlink": 181,
    },
}

# From 424 on, all architectures count alike.
_REFUSED_EVERYWHERE = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "memfd_secret": 447,
    "process_mrelease": 448,
}


def numbers() -> Mapping[str, int]:
    """The refused calls of this machine by name; empty where there is no filter for it."""
    own = _REFUSED.get(platform.machine(), {})
    return dict(own) | _REFUSED_EVERYWHERE if own else {}


class Filter:
    """A filter, prepared in full: applying it allocates and looks up nothing.

    With `may_start`, new processes are allowed (and no namespaces); otherwise only threads are.
    """

    def __init__(self, *, may_start: bool) -> None:
        program = _program(platform.machine(), may_start=may_start)
        self._code = ctypes.create_string_buffer(program, max(1, len(program)))
        # struct sock_fprog: a count, padding, and the address of the instructions
        self._fprog = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(self._code)))
        self._has_program = bool(program)
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl

    def put_on(self) -> bool:
        """Restrict the calling thread, for good; False where the kernel refuses, or the machine has no list."""
        address = ctypes.c_void_p(ctypes.addressof(self._fprog))
        return self._has_program and self._prctl(_PR_SET_SECCOMP, _MODE_FILTER, address, 0, 0) == 0


def _program(machine: str, *, may_start: bool) -> bytes:
    """Instructions of 8 bytes each; empty for an unknown machine."""
    if machine not in _ARCHITECTURES:
        return b""
    arch, clone, clone3, whole = _ARCHITECTURES[machine]
    refused = [*_REFUSED[machine].values(), *_REFUSED_EVERYWHERE.values(), *(() if may_start else whole)]
    refuse = _ERRNO | errno.EPERM
    code = [
        _step(_LOAD, _AT_ARCH),
        _step(_EQUAL, arch, 1, 0),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _AT_NUMBER),
        _step(_ABOVE, _X32, 0, 1),
        _step(_RETURN, refuse),
        # Its flags are in memory, which a filter cannot read: libc then uses clone.
        _step(_EQUAL, clone3, 0, 1),
        _step(_RETURN, _ERRNO | errno.ENOSYS),
    ]
    for number in refused:
        code += [_step(_EQUAL, number, 0, 1), _step(_RETURN, refuse)]
    code += [_step(_EQUAL, clone, 1, 0), _step(_RETURN, _ALLOW), _step(_LOAD, _AT_FIRST_ARGUMENT)]
    code += [_step(_ANY_BIT, _NEW_NAMESPACES, 0, 1), _step(_RETURN, refuse)]
    if not may_start:
        code += [_step(_ANY_BIT, _CLONE_THREAD, 1, 0), _step(_RETURN, refuse)]
    return b"".join([*code, _step(_RETURN, _ALLOW)])


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
