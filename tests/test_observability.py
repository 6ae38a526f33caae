"""Log lines in one form, whoever wrote them, and metrics that add up over processes."""

import ast
import json
import logging
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
import structlog

from server import observability
from server.observability import Metrics, configure_logging


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_every_logger_writes_the_same_json(capsys: pytest.CaptureFixture[str]) -> None:
    """structlog, the standard library, uvicorn and warnings: one JSON object a line, UTC, with the context."""
    configure_logging("info", "json")
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("ours").info("said %s", "so", size=5)
        logging.getLogger("theirs").warning("said %s", "that", extra={"job": 7})
        logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[1mStarted"})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", UserWarning, stacklevel=1)
    # Threads of other tests may have something to log, too.
    known = {"ours", "theirs", "uvicorn.error", "py.warnings"}
    ours, theirs, started, warned = (line for line in lines(capsys) if line["logger"] in known)
    stamps = [str(line.pop("timestamp")) for line in (ours, theirs, started)]
    assert all(stamp.endswith("Z") and "T" in stamp for stamp in stamps)
    assert ours == {"event": "said so", "size": 5, "logger": "ours", "level": "info", "request_id": "r1"}
    assert theirs == {"event": "said that", "job": 7, "logger": "theirs", "level": "warning", "request_id": "r1"}
    assert started == {"event": "Started", "logger": "uvicorn.error", "level": "info", "request_id": "r1"}
    assert warned["logger"] == "py.warnings"


def test_an_exception_stays_inside_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback is a field of the JSON line, for structlog and for the standard library."""
    configure_logging("info", "json")
    try:
        int("broken\nin two")
    except ValueError:
        structlog.get_logger("ours").exception("failed")
        logging.getLogger("theirs").exception("failed")
    for line in lines(capsys):
        assert line["event"] == "failed"
        assert "\nValueError: invalid literal" in str(line["exception"])


def test_control_characters_break_no_log_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters and lone surrogates cannot start a line, or move a terminal's cursor."""
    for form in ("json", "console"):
        configure_logging("info", form)
        structlog.get_logger("ours").info("request", path="/a\nb\x1b[2J\udcff视频")
        (line,) = capsys.readouterr().err.splitlines()
        assert "\x1b[2J" not in line
        assert ("视频" in line) == (form == "console")


@pytest.mark.parametrize(
    ("level", "name", "method", "shown"),
    [
        ("info", "ours", "debug", False),
        ("debug", "ours", "debug", True),
        ("warning", "ours", "info", False),
        ("error", "ours", "warning", False),
        ("info", "apscheduler.scheduler", "info", False),
        ("info", "apscheduler.scheduler", "warning", True),
        ("debug", "alembic.runtime.migration", "info", True),
        ("info", "uvicorn.access", "info", False),
    ],
)
def test_the_log_level_holds_for_all_loggers(
    level: str, name: str, method: str, shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The level holds for all; libraries that talk at each tick are heard from warnings on."""
    configure_logging(level, "json")
    getattr(logging.getLogger(name), method)("x")
    assert bool(lines(capsys)) is shown
    if name == "ours":
        getattr(structlog.get_logger(name), method)("x")
        assert bool(lines(capsys)) is shown


def test_the_console_format_is_readable_and_auto_chooses_json(capsys: pytest.CaptureFixture[str]) -> None:
    """`auto` is JSON where standard error is no terminal; `console` is not JSON, and shows tracebacks in lines."""
    configure_logging("info", "auto")
    structlog.get_logger("ours").info("hello")
    assert lines(capsys)[0]["event"] == "hello"
    configure_logging("info", "console")
    try:
        int("broken")
    except ValueError:
        structlog.get_logger("ours").exception("failed")
    text = capsys.readouterr().err
    assert "failed" in text
    assert "\nValueError: invalid literal" in text


def test_metrics_of_two_apps_are_separate() -> None:
    """Each instance counts for itself, gauges are asked at the scrape, and zeros are shown."""
    numbers = {"uploaded": 0, "processing": 0}
    one, other = Metrics(lambda: (len(numbers), numbers)), Metrics()
    one.requests.labels("GET", "files", "200").inc()
    one.received_bytes.labels("tus").inc(7)
    numbers["processing"] = 3
    text = one.render().decode()
    assert 'videodock_requests_total{method="GET",route="files",status="200"} 1.0' in text
    assert 'videodock_received_bytes_total{protocol="tus"} 7.0' in text
    assert 'videodock_received_bytes_total{protocol="multipart"} 0.0' in text
    assert "videodock_open_uploads 2.0" in text
    assert 'videodock_tasks{status="uploaded"} 0.0' in text
    assert 'videodock_tasks{status="processing"} 3.0' in text
    assert "videodock_requests_total{" not in other.render().decode()


def test_counters_are_served_while_the_database_is_away() -> None:
    """A callback that raises costs the gauges, not the scrape."""

    def away() -> tuple[int, dict[str, int]]:
        raise OSError("the database is away")

    metrics = Metrics(away)
    metrics.requests.labels("GET", "files", "503").inc()
    text = metrics.render().decode()
    assert "videodock_requests_total{" in text
    assert "videodock_open_uploads" not in text


def test_metrics_are_summed_over_processes(tmp_path: Path) -> None:
    """With PROMETHEUS_MULTIPROC_DIR every process shows the sum of all, dead ones included; gauges count once."""
    program = textwrap.dedent("""
        import sys
        from server.observability import Metrics
        metrics = Metrics(lambda: (4, {"uploaded": 1}))
        metrics.requests.labels("GET", "files", "200").inc(int(sys.argv[1]))
        metrics.request_seconds.labels("GET", "files").observe(0.01)
        metrics.received_bytes.labels("tus").inc(10)
        sys.stdout.buffer.write(metrics.render())
    """)
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])}
    for number in ("2", "3"):
        text = subprocess.run(
            [sys.executable, "-c", program, number], env=environment, capture_output=True, text=True, check=True
        ).stdout
    assert 'videodock_requests_total{method="GET",route="files",status="200"} 5.0' in text
    assert 'videodock_request_seconds_count{method="GET",route="files"} 2.0' in text
    assert 'videodock_received_bytes_total{protocol="tus"} 20.0' in text
    assert text.count("\nvideodock_open_uploads ") == 1
    assert "videodock_open_uploads 4.0" in text


def test_logger_and_event_names_follow_the_convention() -> None:
    """Every logger of the server is `videodock.<room>`, and its events are in snake_case."""
    levels = {"debug", "info", "warning", "error", "exception", "log"}
    names, events = [], []
    for path in Path(observability.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
                continue
            owner = node.func.value
            if node.func.attr == "get_logger":
                names.append(ast.literal_eval(node.args[0]))
            elif node.func.attr in levels and ("_log" in ast.unparse(owner) or "get_logger(" in ast.unparse(owner)):
                events.append(ast.literal_eval(node.args[node.func.attr == "log"]))
    assert len(names) > 20
    assert [name for name in names if not re.fullmatch(r"videodock\.[a-z]+", name)] == []
    assert len(events) > 60
    assert [event for event in events if not re.fullmatch(r"[a-z]+(_[a-z]+)*", event)] == []
