"""The doctor on this machine: it is quiet where all is well, and names each part that is not."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from server.bootstrap import Services
from server.cli.start_checks import check_exposure
from server.database.models import Task
from server.doctor import local
from server.doctor.findings import Finding, Report
from server.settings import Settings
from server.storage.disk import MARKER
from tests.cli.operator import register_task
from tests.harness.migrated import migrate
from tests.harness.ports import free_port
from tests.harness.rows import execute

# What depends on the machine that runs the tests.
OF_THE_MACHINE = {"confinement_incomplete", "clock_unsynchronised", "disk_low", "data_folder_remote"}


def installed(folder: Path, database_url: str, **more: Any) -> Settings:
    """A data folder and a database, as a first start leaves them."""
    migrate(database_url)
    settings = Settings(data_dir=folder / "data", database_url=database_url, **more)
    with Services.open(settings) as services:
        services.claim_store()
    return settings


def found(settings: Settings) -> dict[str, Finding]:
    report = Report()
    local.examine(settings, report, is_exposed=check_exposure)
    return {finding.code: finding for finding in report.findings if finding.code not in OF_THE_MACHINE}


def test_a_sound_installation_has_no_findings(tmp_path: Path, database_url: str) -> None:
    """A migrated database, a claimed store and Debian's FFmpeg are well."""
    assert found(installed(tmp_path, database_url)) == {}


def test_what_is_missing_or_full_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store, disk, FFmpeg, scanner, Redis, exposure and misspelt variables are findings of their own, all at once."""
    port = free_port()
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho ' V..... libx264 x'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    settings = installed(
        tmp_path,
        f"sqlite:///{tmp_path / 'data' / 'videodock.db'}",
        disk_reserve="900TiB",
        ffmpeg=str(program),
        clamd=f"tcp://127.0.0.1:{port}",
        redis_url=f"redis://:secret@127.0.0.1:{port}/0",
        host="0.0.0.0",
        otel_endpoint=f"http://127.0.0.1:{port}",
    )
    (settings.data_dir / "uploads" / MARKER).unlink()
    monkeypatch.setenv("VIDEODOCK_HOSTT", "a")
    codes = found(settings)
    assert set(codes) == {
        "settings_unknown",
        "exposed",
        "store_unusable",
        "disk_full",
        "ffmpeg_part_missing",
        "scanner_away",
        "redis_away",
        "collector_away",
    }
    assert "aac" in codes["ffmpeg_part_missing"].text()
    assert "libx264" not in codes["ffmpeg_part_missing"].text()
    assert "secret" not in codes["redis_away"].text()
    assert "HOSTT" in codes["settings_unknown"].text()


def test_databases_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """No database, one of another revision, and one that is away; no password is shown, and nothing is made."""
    settings = Settings(data_dir=tmp_path / "none")
    assert set(found(settings)) == {"data_folder_missing", "database_away"}
    assert not (tmp_path / "none").exists()
    file = tmp_path / "data" / "videodock.db"
    old = installed(tmp_path, f"sqlite:///{file}")
    execute(old.sqlalchemy_url, "UPDATE alembic_version SET version_num = '0001'")
    assert set(found(old)) == {"database_revision"}
    away = old.model_copy(update={"database_url": f"postgresql://u:secret@127.0.0.1:{free_port()}/x"})
    (finding,) = found(away).values()
    assert finding.code == "database_away"
    assert "secret" not in finding.text()


def test_celery_and_its_broker_are_named(tmp_path: Path, postgres_url: str) -> None:
    """Celery on SQLite cannot work; a broker that is away is named without its password."""
    folder = tmp_path / "sqlite"
    wrong = installed(folder, f"sqlite:///{folder / 'data' / 'videodock.db'}", scheduler="celery")
    assert set(found(wrong)) == {"celery_unusable"}
    for scheme in ("amqp", "redis"):
        broker = f"{scheme}://u:secret@127.0.0.1:{free_port()}/0"
        away = installed(tmp_path, postgres_url, scheduler="celery", broker_url=broker)
        (finding,) = found(away).values()
        assert finding.code == "broker_away"
        assert "secret" not in finding.text()


def test_a_queue_that_stands_is_named(tmp_path: Path, database_url: str) -> None:
    """Tasks that have waited for an hour without a worker, and those that were set aside, with the reason."""
    settings = installed(tmp_path, database_url)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    with Services.open(settings) as services:
        waiting, aside = (register_task(services, f"{name}.mp4") for name in "ab")
        with services.database.write() as session:
            session.execute(update(Task).where(Task.id == waiting).values(created_at=hour_ago))
            session.execute(update(Task).where(Task.id == aside).values(waiting_code="scanner_away"))
    codes = found(settings)
    assert set(codes) == {"queue_stands", "tasks_set_aside"}
    at_most = (datetime.now(UTC) - hour_ago) // timedelta(minutes=1)  # a busy machine has taken minutes since then
    assert any(f"{minutes} minutes" in codes["queue_stands"].text() for minutes in range(60, at_most + 1))
    assert "scanner" in codes["tasks_set_aside"].text()


def test_a_running_broker_and_redis_are_well(tmp_path: Path, postgres_url: str, broker: Any) -> None:
    """The real broker answers."""
    assert found(installed(tmp_path, postgres_url, scheduler="celery", broker_url=broker.url)) == {}
