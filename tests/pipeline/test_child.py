"""Jobs in child processes: what comes back, what stops them, and that nothing is left (see conftest)."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from server.errors import StepError
from server.pipeline.sandbox import child
from server.pipeline.step import Cancelled, Limits, TryLaterError
from tests.harness.waiting import PATIENCE, Stopwatch
from tests.pipeline import processes

ROOT = Path(__file__).parents[2]
LIMITS = Limits(seconds=30, memory=1 << 30)


def run(job: str, limits: Limits = LIMITS, **arguments: object) -> Any:
    return child.run(
        f"tests.pipeline.jobs:{job}",
        arguments,
        limits=limits,
        cancelled=threading.Event(),
        report=lambda percent: None,
    )


def test_a_result_and_its_progress_come_back() -> None:
    """Any JSON comes back as it was, progress in its order and within 0 and 100."""
    heard: list[int] = []
    given = {"text": "视频\n\udcff", "number": 1.5, "nothing": None}
    found = child.run(
        "tests.pipeline.jobs:echo",
        given,
        limits=LIMITS,
        cancelled=threading.Event(),
        report=heard.append,
    )
    assert found == given
    assert heard == [10, 60, 100, 0]


def test_the_child_has_limits_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours, no descriptor but its four, all limits, a session of its own, low priority."""
    monkeypatch.setenv("VIDEODOCK_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with Path("/etc/hostname").open() as inheritable:
        os.set_inheritable(inheritable.fileno(), True)
        found = run("surroundings")
    assert set(found["environ"]) <= {"PATH", "LANG", "PYTHONPATH", "MALLOC_ARENA_MAX", "LC_CTYPE"}
    assert "secret" not in str(found["environ"])
    assert found["descriptors"] == 4
    assert found["limits"] == {"memory": [1 << 30, 1 << 30], "core": [0, 0], "files": [64, 64]}
    assert found["nice"] == min(19, os.nice(0) + 10)
    assert found["leader"]


def test_an_idle_child_gets_only_time_that_nothing_else_wants() -> None:
    """The kernel schedules it, and the programs that it starts, as idle; without that, as every other process."""
    assert run("surroundings", replace(LIMITS, is_idle=True))["scheduler"] == os.SCHED_IDLE
    assert run("surroundings")["scheduler"] == os.sched_getscheduler(0)


def test_the_child_finds_all_of_the_package() -> None:
    """A checkout that nothing installed: the working folder is how Python finds it, at the start and later."""
    modules = [str(path) for path in sorted((ROOT / "server").glob("*/*.py"))]
    assert run("find_package", modules=modules) == {"folder": str(ROOT), "modules": modules}


def test_a_step_error_of_the_job_is_raised_in_the_parent() -> None:
    """A StepError of the job is raised in the parent with its parameters."""
    with pytest.raises(StepError) as caught:
        run("give_up", code="step_timeout", params={"seconds": 7})
    assert (caught.value.code, caught.value.params) == ("step_timeout", {"seconds": 7})


def test_output_of_libraries_does_not_disturb_the_answer() -> None:
    """Standard output and a megabyte of standard error disturb nothing."""
    assert run("chatter") == {"honest": True}


@pytest.mark.parametrize(
    "how",
    ["exit", "success without an answer", "abort", "segfault", "exception", "large file"],
)
def test_a_child_without_an_answer_is_step_crashed(how: str, tmp_path: Path) -> None:
    """However the child dies without an answer, the file gets step_crashed."""
    with pytest.raises(StepError) as caught:
        run("die", how=how, output=str(tmp_path))
    assert caught.value.code == "step_crashed"
    assert not (tmp_path / "large").exists() or (tmp_path / "large").stat().st_size <= 64 << 20


def test_a_killed_child_is_retried_and_its_file_not_blamed() -> None:
    """A child that somebody else killed (the system, out of memory) is tried again, and its file not blamed."""
    with pytest.raises(TryLaterError) as caught:
        run("die", how="kill")
    assert caught.value.code == "step_interrupted"
    assert caught.value.counts


@pytest.mark.parametrize("code", ["SIGKILL", "SIGTERM"])
def test_a_killed_program_is_retried_and_its_file_not_blamed(code: str) -> None:
    """The same for a program of the child: no second, lesser way is tried because of it."""
    with pytest.raises(TryLaterError):
        run("kill_a_program", signal=code)


@pytest.mark.parametrize(
    ("line", "times"),
    [
        ("no json", 1),
        ("", 1),
        ("[", 200_000),
        ("x", 1_000_000),
        ('{"result": 1}', 1),
        ('{"error": {"code": "made_up", "params": {}}}', 1),
        ('{"error": {"code": "not_playable"}}', 1),
        ('{"percent": "1"}', 1),
        ('{"percent": 1}\n', 100_000),
    ],
)
def test_an_invalid_answer_is_step_crashed(line: str, times: int) -> None:
    """A child that says anything else than an answer, or too much, is ended and not believed."""
    with pytest.raises(StepError) as caught:
        run("forge", line=line, times=times)
    assert caught.value.code == "step_crashed"


def test_an_invalid_reason_keeps_only_texts_and_numbers() -> None:
    """Parameters that are no text or number are dropped, whatever their names are."""
    with pytest.raises(StepError) as caught:
        run("forge", line='{"error": {"code": "not_playable", "params": {"code": "x", "self": []}}}', times=1)
    assert (caught.value.code, caught.value.params) == ("not_playable", {"code": "x"})


def test_a_job_beyond_its_memory_is_step_memory() -> None:
    """A job that wants more address space than it may have gets step_memory with the limit in words."""
    with pytest.raises(StepError) as caught:
        run("devour", Limits(seconds=30, memory=512 << 20))
    assert (caught.value.code, caught.value.params) == ("step_memory", {"limit": "512 MiB"})


def test_too_little_memory_to_start_is_step_memory() -> None:
    """With less than the decoder's libraries need, the reason is memory and not a damaged file."""
    with pytest.raises(StepError) as caught:
        child.run(
            "server.pipeline.jobs.probe:probe",
            {},
            limits=Limits(seconds=30, memory=64 << 20),
            cancelled=threading.Event(),
            report=lambda percent: None,
        )
    assert caught.value.code == "step_memory"


@pytest.mark.parametrize(("seconds", "said"), [(1.0, 1), (0.5, 0.5)])
def test_a_job_beyond_its_time_is_killed(seconds: float, said: float) -> None:
    """A job that never ends is killed when its time is over, and the sentence can say how long that was."""
    start = Stopwatch()
    with pytest.raises(StepError) as caught:
        run("spin", Limits(seconds=seconds, memory=1 << 30))
    assert (caught.value.code, caught.value.params) == ("step_timeout", {"seconds": said})
    assert start.seconds < seconds + 1


@pytest.mark.alone
def test_a_cancel_ends_the_job_and_its_programs() -> None:
    """Well within 2 s of the wish the child and the program that it started are gone."""
    cancelled = threading.Event()
    before = set(processes.below(os.getpid()))  # other tests have programs of their own
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            child.run,
            "tests.pipeline.jobs:program",
            {},
            limits=LIMITS,
            cancelled=cancelled,
            report=lambda percent: None,
        )
        try:
            *_, all_below = processes.wait_for_program(os.getpid())
        finally:
            start = Stopwatch()
            cancelled.set()
        with pytest.raises(Cancelled):
            running.result(PATIENCE)
        assert start.seconds < 1
    left = [pid for pid in all_below - before if Path(f"/proc/{pid}").exists()]
    assert not left, "a process or a zombie is left"


def test_a_cancel_before_the_start_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is not wanted any more never runs."""
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        child.run(
            "tests.pipeline.jobs:program",
            {},
            limits=LIMITS,
            cancelled=cancelled,
            report=lambda percent: None,
        )


def test_an_error_of_the_report_ends_the_job() -> None:
    """What `report` raises (a lost lease) comes out, even if it looks like an error of reading."""

    def report(percent: int) -> None:
        raise ValueError("the lease is lost")

    with pytest.raises(ValueError, match="the lease is lost"):
        child.run("tests.pipeline.jobs:spin", {}, limits=LIMITS, cancelled=threading.Event(), report=report)


def test_a_program_that_outlives_its_job_is_killed() -> None:
    """A job that succeeds and leaves a program running, in another session and group, leaves none."""
    run("abandon")
    left = {pid for pid in processes.everything() if processes.command(pid) == "sleep 601 "}
    assert processes.gone_within(1, *left)


SCRIPT = (
    "import threading; from server.pipeline.sandbox import child; from server.pipeline.step import Limits; "
    "child.run('tests.pipeline.jobs:program', {}, "
    "limits=Limits(600, 1 << 30), cancelled=threading.Event(), report=print)"
)


@pytest.fixture
def parent() -> Iterator["subprocess.Popen[bytes]"]:
    """A process whose job has started a program."""
    with subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def test_no_program_outlives_a_child_that_is_killed(parent: "subprocess.Popen[bytes]") -> None:
    """Killed together, parent and child have no time to end the program: the kernel does."""
    job, program, _ = processes.wait_for_program(parent.pid)
    parent.send_signal(signal.SIGSTOP)
    os.kill(job, signal.SIGKILL)
    assert processes.gone_within(2, program)


def test_nothing_outlives_a_parent_that_is_killed(parent: "subprocess.Popen[bytes]") -> None:
    """After kill -9 of the parent the child and its program end by themselves."""
    *_, all_below = processes.wait_for_program(parent.pid)
    parent.send_signal(signal.SIGKILL)
    assert processes.gone_within(2, *all_below)


def test_nothing_is_started_for_a_parent_that_is_gone() -> None:
    """A child whose parent died before it said what to do just ends."""
    done = subprocess.run(
        [sys.executable, "-m", "server.pipeline.sandbox.child_main"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_children_of_many_threads_do_not_interfere() -> None:
    """Children started together neither wait for each other's pipes nor mix their answers."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: run("echo", number=number), range(16)))
    assert found == [{"number": number} for number in range(16)]


def test_arguments_that_are_too_large_are_refused() -> None:
    """A request that would not fit the pipe is refused before anything starts."""
    with pytest.raises(ValueError, match="arguments"):
        run("echo", text="x" * 40_000)


def test_a_child_has_no_network(tmp_path: Path) -> None:
    """Neither the job nor a program that it starts reaches a port that listens here; files it can use as before."""
    (tmp_path / "given").write_text("content")
    (tmp_path / "output").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = run("call_out", port=port, output=str(tmp_path / "output"), path=str(tmp_path / "given"))
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert (found["reached"], found["program"]) == (False, False)
    assert (tmp_path / "output" / "written").read_text() == "content"


def test_a_broken_video_is_logged_as_information() -> None:
    """A reason that the job itself gave is logged as information, a crash as a warning."""
    with capture_logs() as logged:
        for job, arguments in (("give_up", {"code": "not_playable", "params": {}}), ("die", {"how": "exit"})):
            with pytest.raises(StepError):
                run(job, **arguments)
    assert [entry["log_level"] for entry in logged] == ["info", "warning"]
