"""What an operator sees at one glance: queue, workers, uploads in flight, disk, readiness; and the doctor's findings.

Rules:

- An overview is asked for every few seconds, so it reads indexes of open rows only, and bounded numbers of them.
- Rates are the difference between two requests to this process; the first request has none.
- The doctor works in a process of its own: it opens the parts that it examines, and must not disturb the server's.
"""

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import bindparam, func, select, text
from sqlalchemy.orm import Session

from server.bootstrap import Services
from server.database.models import Task, TaskFile, Upload
from server.errors import UnavailableError
from server.lifecycle import TaskStatus, UploadStatus
from server.messages import LANGUAGES, Language, sentence
from server.messages.phrases import spoken
from server.settings import Settings
from server.settings.shown import text as text_of
from server.settings.shown import variable
from server.tasks import claimable, counts
from server.version import __version__
from server.web.health import Probes

MOST_LISTED = 50
_FAILURES_LISTED, _MOST_FAILURES = 20, 1000
_LONGEST_TASK = timedelta(days=7)
"""A task that fails later after its creation is not among the failures of the last day."""
_FRESH_SECONDS = 60.0
_DOCTOR_SECONDS = 60.0
_SAID = ("text", "change")
_PATH = re.compile(r"(?<![\w:/.])/(?:[^\s/:'\"]+/)+(?=[^\s/:'\"])")
_WAITS = text(
    "SELECT min(seconds) FILTER (WHERE so_far * 100 >= total * 50), min(seconds) FILTER (WHERE so_far * 100 >= total "
    "* 95) FROM (SELECT seconds, sum(sum(tasks)) OVER (ORDER BY seconds) AS so_far, sum(sum(tasks)) OVER () AS total "
    "FROM queue_waits WHERE hour >= :hour GROUP BY seconds) AS one"
).bindparams(bindparam("hour"))
_OPEN_UPLOADS = text(
    "SELECT upload_id, client, idle_seconds, why FROM open_uploads WHERE upload_id IN :ids"
).bindparams(bindparam("ids", expanding=True))
_log = structlog.stdlib.get_logger("videodock.web")


@dataclass(frozen=True)
class _Seen:
    """How many bytes of an upload there were at a time of the monotonic clock."""

    received: int
    at: float


class Overview:
    """Makes overviews. One per application, since rates need the previous request."""

    def __init__(self, services: Services, probes: Probes, hints: frozenset[str]) -> None:
        self._services = services
        self._settings = services.settings
        self._database = services.database
        self._probes = probes
        self._hints = hints
        self._seen: dict[str, _Seen] = {}
        self._rates: dict[str, float] = {}

    async def make(self, reader: Language) -> Mapping[str, Any]:
        """The overview now. Raises the errors of the database."""
        ready = await self._probes.run()
        found = await self._database.run(self._look, reader)
        checks = [
            {
                "name": name,
                "ok": said == "ok",
                "message": None if said == "ok" else spoken(said, reader),
                "required": name not in self._hints,
            }
            for name, said in ready.items()
        ]
        is_ready = all(check["ok"] or not check["required"] for check in checks)
        return {
            "success": True,
            "version": __version__,
            "database": self._database.engine.dialect.name,
            "authentication": self._settings.auth == "on",
            "readiness": {"ready": is_ready, "checks": checks},
            **found,
        }

    def _look(self, reader: Language) -> dict[str, Any]:
        now = self._services.clock()
        gauges = counts.queue(self._database, now, self._settings.task_lease)
        space = self._services.reservations.measure()
        with self._database.read() as session:
            queue = _queue(session, gauges, now, reader)
            workers = _workers(session, now, self._settings.task_lease)
            uploads = self._uploads(session)
            failures = _failures(session, now, reader)
        return {
            "queue": queue,
            "workers": workers,
            "uploads": uploads,
            "failures": failures,
            "disk": {
                "capacity": self._services.store.capacity,
                "free": space.free,
                "reserve": space.reserve,
                "reserved": space.promised,
                "left": space.left,
            },
        }

    def _uploads(self, session: Session) -> dict[str, Any]:
        is_open = Upload.status == UploadStatus.OPEN
        number = session.scalar(select(func.count()).where(is_open)) or 0
        newest = select(Upload).where(is_open).order_by(Upload.updated_at.desc(), Upload.id).limit(MOST_LISTED)
        rows = session.scalars(newest).all()
        why = {row.upload_id: row for row in session.execute(_OPEN_UPLOADS, {"ids": [row.id for row in rows]})}
        rates = self._measure({row.id: row.received for row in rows})
        items = [
            {
                "id": row.id,
                "owner": row.owner,
                "filename": row.filename,
                "protocol": row.protocol,
                "client": why[row.id].client if row.id in why else "unknown",
                "created_at": _moment(row.created_at),
                "received": row.received,
                "length": row.length,
                "bytes_per_second": rates.get(row.id),
                "idle_seconds": max(0, int(why[row.id].idle_seconds)) if row.id in why else None,
                "why": why[row.id].why if row.id in why else None,
            }
            for row in rows
        ]
        total = round(sum(rates.values()), 1) if rates else None
        return {"open": number, "bytes_per_second": total, "items": items}

    def _measure(self, received: Mapping[str, int]) -> dict[str, float]:
        """Bytes a second of each upload since the look before, which was at least a second ago."""
        now, seen = time.monotonic(), self._seen
        if any(now - last.at < 1 for last in seen.values()):
            return {one: rate for one, rate in self._rates.items() if one in received}
        self._rates = {
            one: round(max(0, number - seen[one].received) / (now - seen[one].at), 1)
            for one, number in received.items()
            if one in seen
        }
        self._seen = {one: _Seen(number, now) for one, number in received.items()}
        return self._rates


def _queue(session: Session, gauges: Sequence[Any], now: datetime, reader: Language) -> dict[str, Any]:
    by_name = {gauge.name.removeprefix("videodock_"): gauge.value for gauge in gauges}
    postponed = by_name["tasks_postponed"]
    hour = (now.astimezone(UTC) - timedelta(days=1)).strftime("%Y-%m-%d %H:00")
    p50, p95 = session.execute(_WAITS, {"hour": hour}).one()
    return {
        "waiting": int(by_name["tasks_waiting"]),
        "running": int(by_name["tasks_running"]),
        "gathering": int(by_name["tasks_gathering"]),
        "abandoned": int(by_name["tasks_abandoned"]),
        "oldest_waiting_seconds": round(float(by_name["oldest_waiting_task_seconds"]), 1),
        "postponed": [
            {"code": code, "message": sentence(code, {}, reader), "tasks": int(number)}
            for code, number in (postponed.items() if isinstance(postponed, Mapping) else ())
        ],
        "wait_p50_seconds": p50,
        "wait_p95_seconds": p95,
    }


def _workers(session: Session, now: datetime, lease: float) -> list[dict[str, Any]]:
    too_far = now + timedelta(seconds=claimable.horizon(lease))
    query = select(Task).where(claimable.is_open(Task), claimable.is_running(Task, now, too_far))
    tasks = session.scalars(query.order_by(Task.started_at).limit(MOST_LISTED)).all()
    names = select(TaskFile.task_id, TaskFile.name).where(TaskFile.task_id.in_([task.id for task in tasks]))
    name_of = {row[0]: row[1] for row in session.execute(names.order_by(TaskFile.position.desc()))}
    return [
        {
            # Without the name of the data folder, which all workers here have before their own.
            "worker": (task.worker or "").partition("/")[2] or task.worker,
            "task_id": task.id,
            "owner": task.owner,
            "title": task.title or name_of.get(task.id),
            "step": task.step,
            "progress": task.progress,
            "eta_seconds": task.eta_seconds,
            "attempt": task.attempt,
            "started_at": None if task.started_at is None else _moment(task.started_at),
        }
        for task in tasks
    ]


def _failures(session: Session, now: datetime, reader: Language) -> dict[str, Any]:
    """The tasks that failed in the last day. An index has the failed ones by their creation, so a task that was created
    long before it failed is not looked for."""
    since = now - timedelta(days=1)
    late = select(Task.id, Task.finished_at).where(
        Task.status == TaskStatus.ERROR, Task.created_at >= since - _LONGEST_TASK, Task.finished_at >= since
    )
    found = session.execute(late.order_by(Task.created_at.desc(), Task.id.desc()).limit(_MOST_FAILURES)).all()
    newest = sorted(found, key=lambda row: (row.finished_at, row.id), reverse=True)[:_FAILURES_LISTED]
    tasks = {
        task.id: task for task in session.scalars(select(Task).where(Task.id.in_([row.id for row in newest]))).all()
    }
    files: dict[str, TaskFile] = {}
    of = select(TaskFile).where(TaskFile.task_id.in_(list(tasks))).order_by(TaskFile.position.desc())
    for file in session.scalars(of):
        if file.error_code is not None or file.task_id not in files:
            files[file.task_id] = file
    return {
        "last_day": len(found),
        "items": [_failed(tasks[row.id], files.get(row.id), reader) for row in newest if row.id in tasks],
    }


def _failed(task: Task, file: TaskFile | None, reader: Language) -> dict[str, Any]:
    of_file = file is not None and file.error_code is not None
    code = (file.error_code if file is not None and of_file else task.error_code) or "not_found"
    params = (file.error_params if file is not None and of_file else task.error_params) or {}
    return {
        "task_id": task.id,
        "owner": task.owner,
        "title": task.title or (file.name if file is not None else None),
        "error": {"code": code, "message": sentence(code, params, reader)},
        "failed_at": _moment(task.finished_at or task.updated_at),
        "attempt": task.attempt,
    }


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class DoctorRuns:
    """The findings of the doctor: one run at a time, and at most one a minute."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()
        self._found: tuple[float, Mapping[Language, Mapping[str, Any]]] | None = None

    async def find(self, reader: Language) -> Mapping[str, Any]:
        """What the doctor says of this machine to this reader, a minute old at most.

        Raises `UnavailableError` where it says nothing within a minute.
        """
        async with self._lock:
            if self._found is None or time.monotonic() - self._found[0] > _FRESH_SECONDS:
                began = time.monotonic()
                checks = await self._run()
                at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                seconds = round(time.monotonic() - began, 1)
                self._found = (
                    time.monotonic(),
                    {
                        language: {
                            "success": True,
                            "at": at,
                            "seconds": seconds,
                            "checks": [_shown(one, language) for one in checks],
                        }
                        for language in LANGUAGES
                    },
                )
            return self._found[1][reader]

    async def _run(self) -> list[dict[str, Any]]:
        given = {variable(name): text_of(getattr(self._settings, name)) for name in type(self._settings).model_fields}
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server", "doctor", "--json"),
            env={**os.environ, **given},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(_DOCTOR_SECONDS):
                output, _ = await child.communicate()
            return [dict(check) for check in json.loads(output)["checks"]]
        except (TimeoutError, ValueError, LookupError):
            _log.warning("doctor_gave_up", exit_code=child.returncode)
            raise UnavailableError(part="doctor") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()


def _shown(check: Mapping[str, Any], reader: Language) -> dict[str, Any]:
    """A check of the doctor's JSON in the reader's language."""
    findings = [
        {"code": one["code"], "level": one["level"], **{name: _short(one["messages"][reader][name]) for name in _SAID}}
        for one in check["findings"]
    ]
    said = {name: _short(text) for name, text in check["messages"][reader].items()}
    return {"name": check["check"], "state": check["state"], **said, "findings": findings}


def _short(said: str) -> str:
    """A sentence without the folders of this machine."""
    return _PATH.sub("…/", said)
