"""The checks on this machine: what the server needs, asked with the server's own code.

Rule: nothing is created, migrated or moved; a server may run meanwhile. No sentence has a password.
"""

import ctypes
import logging
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import func, select

from server.bootstrap import Services
from server.database import migration
from server.database.session import AWAY, Database, reason
from server.doctor.findings import Check, Report
from server.errors import StartError
from server.messages import size, templates
from server.messages.phrases import Phrase
from server.pipeline import clamd
from server.pipeline.media import ffmpeg
from server.pipeline.sandbox.trial import Trial
from server.settings import Settings, unknown_variables
from server.storage import mounts
from server.tasks import counts

_SECONDS = 3.0
_CLOCK_SECONDS = 2.0
_STANDS_SECONDS = 900
# What the steps ask of FFmpeg, by the option that lists it.
_PARTS = {
    "-encoders": ("libx264", "aac", "mjpeg"),
    "-filters": ("zscale", "tonemap", "scale"),
    "-muxers": ("mp4", "hls"),
}
_ERROR = 5  # of adjtimex(2): the clock is not synchronised


def examine(settings: Settings, report: Report, *, is_exposed: Callable[[Settings], None]) -> None:
    """Add what can be seen on this machine to `report`. `is_exposed` raises `StartError`. Blocking, for seconds."""
    with report.check("settings") as check:
        unknown = unknown_variables(os.environ)
        if unknown:
            check.find("settings_unknown", names=", ".join(unknown))
        try:
            is_exposed(settings)
        except StartError as error:
            check.find("exposed", reason=str(error))
    with report.check("data_folder") as check:
        is_there = _check_folder(settings, check)
    with report.check("database") as check:
        is_usable = _check_database(settings, check)
    if is_there and is_usable:
        try:
            _examine_services(settings, report)
        except AWAY as error:  # since the last check
            report.checks[-1].find("database_away", reason=reason(error))
    if settings.scheduler != "none":
        with report.check("ffmpeg") as check:
            _check_ffmpeg(settings, check)
        with report.check("confinement") as check:
            _check_confinement(check)
    if settings.clamd:
        with report.check("scanner") as check:
            _check_scanner(settings, check)
    if settings.scheduler == "celery":
        with report.check("broker") as check:
            _check_broker(settings, check)
    if settings.redis_url:
        with report.check("redis") as check:
            _check_redis(settings, check)
    if settings.otel_endpoint:
        with report.check("collector") as check:
            _check_collector(settings, check)
    with report.check("local_clock") as check:
        _check_clock(check)


def _check_folder(settings: Settings, check: Check) -> bool:
    folder = settings.data_dir
    if not (folder / "node").exists():
        check.find("data_folder_missing", folder=str(folder))
        return False
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        check.find("data_folder_unusable", folder=str(folder))
        return False
    if not mounts.is_local(folder):
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
        check.find("data_folder_remote", kind=mounts.kind_of(folder.resolve(), lines) or "?")
    check.note = str(folder)
    return True


def _check_database(settings: Settings, check: Check) -> bool:
    url = settings.sqlalchemy_url
    file = url.removeprefix("sqlite:///").partition("?")[0]
    if url.startswith("sqlite") and not Path(file).exists():
        check.find("database_away", reason=Phrase.of("file_missing", file=file))
        return False
    try:
        database = Database(url, 1)
    except StartError as error:  # its driver is not installed, say
        check.find("database_away", reason=str(error))
        return False
    try:
        with database.engine.connect() as connection:
            before = time.time()
            theirs = connection.scalar(select(func.now()))
        migration.check_head(database.engine)
    except AWAY as error:
        check.find("database_away", reason=reason(error))
        return False
    except StartError as error:
        check.find("database_revision", reason=str(error), expected=migration.head() or "?")
        return False
    finally:
        database.close()
    check.note = Phrase.of("database_kind", dialect=database.engine.dialect.name, revision=migration.head() or "?")
    if not url.startswith("sqlite") and isinstance(theirs, datetime):
        differs = abs(theirs.replace(tzinfo=theirs.tzinfo or UTC).timestamp() - before)
        if differs > _CLOCK_SECONDS:
            check.find("database_clock", seconds=round(differs))
    return True


def _examine_services(settings: Settings, report: Report) -> None:
    try:
        services = Services.open(settings)
    except StartError as error:
        with report.check("store") as check:
            check.find("store_unusable", reason=str(error))
        return
    with services:
        with report.check("store") as check:
            try:
                services.store.check()
            except OSError as error:
                check.find("store_unusable", reason=f"{error.strerror}.")
        with report.check("disk") as check:
            _check_room(services, check)
        with report.check("queue") as check:
            _check_queue(services, check)


def _check_room(services: Services, check: Check) -> None:
    if not services.store.is_local:
        check.note = Phrase.of("store_is_bucket")
        return
    room, largest = services.reservations.measure(), services.settings.tus_max_size
    check.note = Phrase.of("room_for_uploads", size=size(max(0, room.left)))
    if room.left <= 0:
        check.find("disk_full", **{name: size(max(0, number)) for name, number in vars(room).items()})
    elif room.left < largest:
        check.find("disk_low", left=size(room.left), largest=size(largest))


def _check_queue(services: Services, check: Check) -> None:
    gauges = counts.queue(services.database, services.clock(), services.settings.task_lease)
    found = {gauge.name.removeprefix("videodock_"): gauge.value for gauge in gauges}
    numbers = {name: value for name, value in found.items() if not isinstance(value, Mapping)}
    waiting, running = int(numbers["tasks_waiting"]), int(numbers["tasks_running"])
    check.note = Phrase.of("queue_length", waiting=waiting, running=running)
    age = numbers["oldest_waiting_task_seconds"]
    if age > _STANDS_SECONDS and not running:
        check.find("queue_stands", waiting=waiting, minutes=int(age // 60))
    reasons = found["tasks_postponed"]
    for code, number in reasons.items() if isinstance(reasons, Mapping) else ():
        check.find("tasks_set_aside", number=int(number), reason=Phrase.made(templates(code), {}))


def _check_ffmpeg(settings: Settings, check: Check) -> None:
    try:
        program = ffmpeg.find(settings.ffmpeg)
    except StartError as error:
        check.find("ffmpeg_missing", reason=str(error))
        return
    check.note = program
    try:
        missing = [name for option, names in _PARTS.items() for name in names if name not in _listed(program, option)]
    except subprocess.TimeoutExpired:
        check.find("ffmpeg_missing", reason=Phrase.of("program_silent", program=program))
        return
    if missing:
        check.find("ffmpeg_part_missing", program=program, names=", ".join(missing))


@cache
def _listed(program: str, option: str) -> frozenset[str]:
    """What FFmpeg has of one kind, by the option that lists it."""
    listed = subprocess.run(  # noqa: S603  # the program that the settings name
        [program, "-hide_banner", option], capture_output=True, text=True, timeout=20, check=False
    ).stdout
    return frozenset(word for line in listed.splitlines() for word in line.split()[1:2])


def _check_confinement(check: Check) -> None:
    log = logging.getLogger("videodock.pipeline")
    before = log.level
    log.setLevel(logging.ERROR)  # the report says what it would say
    trial = Trial()
    trial.start()
    deadline = time.monotonic() + 10 * _SECONDS
    try:
        while (found := trial.trouble()) == trial.BEING_TRIED and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        trial.stop()
        log.setLevel(before)
    if found is not None:
        check.find("confinement_incomplete", reason=found)


def _check_scanner(settings: Settings, check: Check) -> None:
    try:
        clamd.ping(settings.clamd, seconds=_SECONDS)
    except clamd.AwayError as error:
        check.find("scanner_away", address=settings.clamd, reason=str(error))


def _check_broker(settings: Settings, check: Check) -> None:
    from server.worker import check_celery

    try:
        check_celery(settings)
    except StartError as error:
        check.find("celery_unusable", reason=str(error))
        return
    from server.worker.celery_app import make_app

    try:
        with make_app(settings).connection(connect_timeout=_SECONDS) as connection:
            connection.ensure_connection(max_retries=0, timeout=_SECONDS, interval_start=0)
    except Exception as error:  # each transport has errors of its own
        check.find("broker_away", address=_place(settings.broker_url), reason=_said(error))


def _check_redis(settings: Settings, check: Check) -> None:
    if find_spec("redis") is None:
        check.find("redis_away", address=_place(settings.redis_url), reason=Phrase.of("package_missing", name="redis"))
        return
    import redis

    client = redis.Redis.from_url(settings.redis_url, socket_connect_timeout=_SECONDS, socket_timeout=_SECONDS)
    try:
        client.ping()
    except redis.RedisError as error:
        check.find("redis_away", address=_place(settings.redis_url), reason=_said(error))
    finally:
        client.close()


def _check_collector(settings: Settings, check: Check) -> None:
    parts = urlsplit(settings.otel_endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=_SECONDS).close()
    except OSError as error:
        check.find("collector_away", address=_place(settings.otel_endpoint), reason=_said(error))


def _check_clock(check: Check) -> None:
    """Whether the kernel says that a time service keeps its clock (adjtimex(2)); containers may not ask."""
    state = bytearray(512)
    try:
        found = ctypes.CDLL(None, use_errno=True).adjtimex((ctypes.c_char * len(state)).from_buffer(state))
    except (OSError, AttributeError):
        found = -1
    if found == _ERROR:
        check.find("clock_unsynchronised")
    elif found < 0:
        check.skip("clock_unknown")


def _place(url: str) -> str:
    """Host and port of a URL, without what may be a password."""
    parts = urlsplit(url)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


def _said(error: Exception) -> str:
    """The first line of an error, without a URL: a driver may repeat one with its password."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return " ".join(word for word in line.split() if "://" not in word)[:200]
