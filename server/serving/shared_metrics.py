"""The folder in which several serving processes add up their metrics.

Rule: a full disk costs the sum, not a process: then each process reports its own metrics.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import structlog

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_KINDS = ("counter", "histogram")
_BYTES = 1 << 20  # as large as the library makes such a file

_log = structlog.stdlib.get_logger("videodock.serving")


@contextlib.contextmanager
def metrics_folder(data_dir: Path) -> Iterator[Path | None]:
    """A fresh folder in which serving processes add up their metrics; removes those of servers that died.

    None when the disk is too full for one: then each process reports its own.
    """
    for old in data_dir.glob("metrics-*"):
        descriptor = os.open(old, os.O_RDONLY)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
        os.close(descriptor)
    try:
        folder = Path(tempfile.mkdtemp(prefix="metrics-", dir=data_dir))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _log.warning("metrics_not_shared", reason="the disk is full")
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def reserve_metrics() -> None:
    """Allocate the files of this process's metrics on the disk, before they are mapped into memory.

    Writing to a mapped page for which the disk has no block ends the process with SIGBUS. Without that space the
    process keeps its metrics to itself.
    """
    folder = os.environ.get(METRICS_VARIABLE)
    paths = [Path(folder, f"{kind}_{os.getpid()}.db") for kind in _KINDS] if folder else []
    try:
        for path in paths:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, _BYTES)
            finally:
                os.close(descriptor)
    except OSError as error:
        _log.warning("metrics_not_shared", reason=error.strerror)
        for path in paths:
            path.unlink(missing_ok=True)
        del os.environ[METRICS_VARIABLE]
