"""What a test changes in the logging of its process, put back.

Rule: whoever configures logging in the process of the tests (a command that is called here does) configures it for the
rest of its own test only.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

_LOGGERS = ("uvicorn.access", "uvicorn.error", "apscheduler", "alembic")


@contextmanager
def unchanged() -> Iterator[None]:
    """Logging, structlog and captured warnings are afterwards as before."""
    root = logging.getLogger()
    own, level = _own(root), root.level
    logging.captureWarnings(capture=False)
    yield
    if _own(root) != own:
        # Those of pytest come and go with the phases of a test.
        root.handlers[:] = [*own, *(handler for handler in root.handlers if _is_pytests(handler))]
        # Not without a reason: a server that lives for several tests has its own (`capture_logs`).
        structlog.reset_defaults()
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


def _own(root: logging.Logger) -> list[logging.Handler]:
    return [handler for handler in root.handlers if not _is_pytests(handler)]


def _is_pytests(handler: logging.Handler) -> bool:
    return type(handler).__module__.startswith("_pytest.")
