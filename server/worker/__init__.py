"""The schedulers for finished uploads.

Rule: when the chosen scheduler needs something that is not installed, the start fails with one sentence that says so.
"""

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from server.errors import StartError
from server.settings import Settings

if TYPE_CHECKING:
    from server.bootstrap import Services
    from server.worker.leader import Leader


def open_leader(services: "Services") -> "Leader | None":
    """The scheduler of a serving process, as the settings choose it. Raises `StartError`."""
    if services.settings.scheduler == "embedded":
        from server.worker.scheduler import scheduler_of

        return scheduler_of(services)
    if services.settings.scheduler == "celery":
        check_celery(services.settings)
        from server.worker.dispatcher import dispatcher_of

        return dispatcher_of(services)
    return None


def check_celery(settings: Settings) -> None:
    """Raise `StartError` when Celery is chosen (or about to be used) and something for it is missing."""
    if settings.sqlalchemy_url.startswith("sqlite"):
        raise StartError(
            "Celery's workers share one database, and SQLite is for one machine only: "
            "set database_url to a PostgreSQL, or scheduler to embedded."
        )
    if not settings.broker_url:
        raise StartError(
            "Celery needs a broker: set broker_url to amqp://… (RabbitMQ) or redis://…, or scheduler to embedded."
        )
    try:
        _ = urlsplit(settings.broker_url).port
    except ValueError:
        # Not the error's text: it may contain a part of the password.
        raise StartError(
            "broker_url cannot be read as a URL: in a user's name or a password, "
            "characters such as / and @ are written as %2F and %40."
        ) from None
    needed = ["celery", *(["redis"] if settings.broker_url.startswith("redis") else [])]
    if any(find_spec(name) is None for name in needed):
        raise StartError(
            "Celery is not installed: .venv/bin/pip install '.[celery]' in a checkout, "
            f"else {sys.executable} -m pip install 'celery[redis]'."
        )
