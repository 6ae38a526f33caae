"""Python hooks of real installed packages: called in order, at least once; and whatever they do hurts nothing else."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.errors import RefusedByHookError, UnavailableError
from server.events.bodies import Bodies
from server.events.hook_process import Hook, HookError, HookProcess, registered
from server.events.post_hooks import PostHook
from server.events.pre_create import PreCreate
from server.hooks import Creation
from server.settings import Settings
from tests.events.conftest import Post
from tests.harness import hook_package
from tests.harness.waiting import until

BAD = """
    import os, sys, time
    from server.hooks import Refuse

    def pre_create(creation):
        deed = creation.metadata.get("deed")
        if deed == "raise":
            raise ValueError("no")
        if deed == "exit":
            os._exit(3)
        if deed == "sys.exit":
            sys.exit("bye")
        if deed == "block":
            time.sleep(1000)
        if deed == "slow":
            time.sleep(0.4)
        if deed == "print":
            print("{} a line that looks like an answer", flush=True)
        if deed == "flood":
            while True:
                print("x" * 200)
        if deed == "fork":
            os.fork()
            return Refuse(explanation="twice")
        if deed == "surrogate":
            return Refuse(explanation="half \\ud800")
        if deed == "nonsense":
            return 42
        if deed == "refuse":
            return Refuse(explanation="not today")
"""
CREATION = Creation(protocol="tus", owner="ann", name="a.mp4")


def deed(name: str) -> Creation:
    return Creation(protocol="tus", owner="ann", name="a.mp4", metadata={"deed": name})


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example of the documentation, and one that does all that a hook should not; installed once."""
    folder = tmp_path_factory.mktemp("hooks")
    target = hook_package.install(folder / "site")
    bad = hook_package.write(folder / "bad", "bad_hooks", BAD, "pre_create")
    return hook_package.install(target, bad)


@pytest.fixture
def path(packages: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Here, and in every child."""
    monkeypatch.syspath_prepend(str(packages))
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(packages), *([before] if before else [])]))
    return packages


@pytest.fixture
def bad(path: Path) -> Iterator[HookProcess]:
    made = HookProcess(Hook("pre_create", "bad_hooks:pre_create"))
    yield made
    made.close()


def call(process: HookProcess, creation: Creation, seconds: float = 30) -> str | None:
    from dataclasses import asdict

    return process.call(asdict(creation), time.monotonic() + seconds)


def test_installed_packages_are_found(path: Path) -> None:
    """By their entry points, in a fixed order."""
    example = "videodock_hooks_example"
    assert [hook.value for hook in registered("pre_create")] == ["bad_hooks:pre_create", f"{example}:pre_create"]
    assert [hook.name for hook in registered("post_finish", "post_task")] == ["post_finish", "post_task"]


def test_a_hook_that_fails_in_any_way_can_be_called_again(bad: HookProcess) -> None:
    """It raises, exits, blocks, returns nonsense or prints; the next call gets its own answer."""
    cases = {
        "raise": "ValueError: no .__init__.py:",
        "exit": "it ended its process",
        "sys.exit": "it ended its process",
        "nonsense": "it returned int",
    }
    assert call(bad, deed("refuse")) == "not today"
    for name, text in cases.items():
        with pytest.raises(HookError, match=text):
            call(bad, deed(name))
        assert call(bad, deed("print")) is None
        assert call(bad, deed("refuse")) == "not today"
    with pytest.raises(HookError, match="took too long"):
        call(bad, deed("block"), seconds=0.5)
    assert call(bad, deed("refuse")) == "not today"


def test_a_hook_that_prints_without_end_fills_no_log(bad: HookProcess, capfd: pytest.CaptureFixture[str]) -> None:
    """It takes too long; of its output a bounded part is in the log, whose end is said once. The next call works."""
    call(bad, CREATION)  # it has started
    for _ in range(2):
        with pytest.raises(HookError, match="took too long"):
            call(bad, deed("flood"), seconds=0.5)
        assert call(bad, deed("refuse")) == "not today"
    shown = capfd.readouterr()
    assert 60_000 < shown.err.count("x") <= 65_536
    assert (shown.out + shown.err).count("hook_output_cut") == 1


def test_an_answer_is_for_its_own_call(bad: HookProcess) -> None:
    """A hook that forks answers twice: the next call gets its own answer. What has no encoding is replaced."""
    for _ in range(2):
        assert call(bad, deed("fork")) == "twice"
        assert [call(bad, CREATION), call(bad, deed("refuse"))] == [None, "not today"]
    assert call(bad, deed("surrogate")) == "half ?"


def test_a_hook_that_cannot_be_imported_says_so(path: Path) -> None:
    """Its name, and the error."""
    process = HookProcess(Hook("pre_create", "bad_hooks:no_such_function"))
    with pytest.raises(HookError, match="cannot be imported: AttributeError"):
        call(process, CREATION)
    process.close()


def test_a_child_ends_with_its_parent(path: Path, tmp_path: Path) -> None:
    """Even when the parent is killed."""
    code = f"""
import os, signal, sys, time
sys.path.insert(0, {str(path)!r})
from server.events.hook_process import Hook, HookProcess
process = HookProcess(Hook("pre_create", "bad_hooks:pre_create"))
process.start()
print(process._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text(), what="it ended")


def started(**settings: Any) -> PreCreate:
    made = PreCreate(Settings(**settings))
    made.start()
    return made


async def outcome(hooks: PreCreate, creation: Creation) -> str:
    try:
        await hooks.check(creation)
    except RefusedByHookError as error:
        return str(error.params["explanation"])
    except UnavailableError:
        return "503"
    return "allowed"


@pytest.mark.parametrize(("failure", "expected"), [("allow", "allowed"), ("refuse", "503")])
def test_the_setting_says_what_a_failure_means(path: Path, failure: str, expected: str) -> None:
    """`allow` lets the upload go on, `refuse` answers 503; a refusal is a refusal in both."""
    import asyncio

    hooks = started(pre_create_failure=failure, pre_create_time_limit=30)
    counted: list[tuple[str, str]] = []
    hooks._count = lambda hook, result: counted.append((hook, result))
    try:
        assert asyncio.run(outcome(hooks, CREATION)) == "allowed"
        assert asyncio.run(outcome(hooks, deed("refuse"))) == "not today"
        draft = Creation(protocol="tus", owner="ann", name="Draft 1.mp4")
        assert asyncio.run(outcome(hooks, draft)).startswith("Drafts are not")
        assert asyncio.run(outcome(hooks, deed("raise"))) == expected
        assert asyncio.run(outcome(hooks, deed("exit"))) == expected
        assert asyncio.run(outcome(hooks, deed("refuse"))) == "not today"
        assert {hook for hook, _ in counted} == {"pre_create"}
        assert [result for _, result in counted].count("failed") == 2
        assert [result for _, result in counted].count("refused") == 3
    finally:
        hooks.close()


def test_a_hook_that_blocks_is_left_out_after_a_while(path: Path) -> None:
    """Three creations wait for the time limit, the others do not."""
    import asyncio

    hooks = started(pre_create_time_limit=30)
    try:
        assert asyncio.run(outcome(hooks, CREATION)) == "allowed"
        hooks._seconds = 0.3
        for _ in range(3):
            assert asyncio.run(outcome(hooks, deed("block"))) == "allowed"
        began = time.monotonic()
        for _ in range(20):
            assert asyncio.run(outcome(hooks, deed("block"))) == "allowed"
        assert time.monotonic() - began < 2
    finally:
        hooks.close()


def test_many_creations_at_once_do_not_end_a_hook_that_is_well(path: Path) -> None:
    """Those whose turn does not come in time are allowed; its process goes on, and refuses the next one as before."""
    import asyncio

    async def at_once() -> list[str]:
        return await asyncio.gather(*(outcome(hooks, deed("slow")) for _ in range(8)))

    hooks = started(pre_create_time_limit=30)
    try:
        assert asyncio.run(outcome(hooks, CREATION)) == "allowed"
        child = hooks._asked[0].process._process
        hooks._seconds = 1.0
        assert set(asyncio.run(at_once())) == {"allowed"}
        hooks._seconds = 30
        assert asyncio.run(outcome(hooks, deed("refuse"))) == "not today"
        assert hooks._asked[0].process._process is child
    finally:
        hooks.close()


def test_without_hooks_nothing_is_started() -> None:
    """No process, no thread."""
    hooks = started()
    assert not hooks.is_used
    assert hooks._pool is None
    hooks.close()


Make = Callable[..., PostHook]


@pytest.fixture
def make(post: Post) -> Iterator[Make]:
    """Followers without their thread, with a clock that the test moves."""
    made: list[PostHook] = []

    def build(value: str, name: str = "post_task", worker: str = "node/1") -> PostHook:
        services = post.installation.services
        bodies = Bodies(
            settings=post.installation.settings, database=services.database, signatures=services.auth.signatures
        )
        hook = PostHook(
            Hook(name, value),
            database=services.database,
            bodies=bodies,
            worker=worker,
            seconds=20,
            clock=post.clock,
            monotonic=lambda: post.clock.now.timestamp(),
        )
        hook.look()  # its place begins here
        hook.look()
        made.append(hook)
        return hook

    yield build
    for hook in made:
        hook._process.close()


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_the_example_is_told_of_uploads_and_tasks(
    post: Post, make: Make, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once each, in order, and not of what was before."""
    file = tmp_path / "lines"
    monkeypatch.setenv("HOOKS_EXAMPLE_FILE", str(file))
    post.installation.complete()
    hooks = [make("videodock_hooks_example:post_finish", "post_finish"), make("videodock_hooks_example:post_task")]
    first, second = post.installation.complete(), post.installation.complete()
    post.installation.services.deletion.cancel(second, None)
    for hook in hooks:
        hook.look()
        hook.look()
    told = [(line.get("finished") or line["ended"], line.get("name") or line["status"]) for line in lines(file)]
    assert told == [(first, "clip.mp4"), (second, "clip.mp4"), (second, "cancelled")]
    # Another process goes on where the first one was.
    for hook in hooks:
        hook._release()
    make("videodock_hooks_example:post_task", worker="node/2").look()
    assert len(lines(file)) == 3


COUNTS = """
    import os
    from pathlib import Path

    def post_task(task):
        file = Path(os.environ["HOOKS_EXAMPLE_FILE"])
        told = file.read_text() if file.exists() else ""
        file.write_text(told + task.task_id + "\\n")
        if len(told.splitlines()) < 2:
            os._exit(1)
"""


def test_a_failed_event_is_told_again_before_the_next(
    post: Post, make: Make, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause, and by the next process after a crash; other hooks do not wait for it."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "counting_hooks.py").write_text(COUNTS.replace("\n    ", "\n"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'more'}{os.pathsep}{os.environ['PYTHONPATH']}")
    file = tmp_path / "told"
    monkeypatch.setenv("HOOKS_EXAMPLE_FILE", str(file))
    hook = make("counting_hooks:post_task")
    counted: list[tuple[str, str]] = []
    hook._count = lambda name, result: counted.append((name, result))
    first, second = post.installation.complete(), post.installation.complete()
    for task in (first, second):
        post.installation.services.deletion.cancel(task, None)
    hook.look()
    hook.look()  # too early
    assert file.read_text().split() == [first]
    post.clock.pass_by(seconds=3)
    hook.look()
    assert file.read_text().split() == [first] * 2
    assert counted == [("post_task", "failed")] * 2
    hook._process.close()
    hook._release()
    make("counting_hooks:post_task", worker="node/2").look()
    assert file.read_text().split() == [first, first, first, second]


def test_a_hook_that_always_fails_leaves_an_event_out_after_a_day(post: Post, make: Make, path: Path) -> None:
    """Otherwise nothing after it would ever be told."""
    hook = make("bad_hooks:no_such_function")
    post.installation.services.deletion.cancel(post.installation.complete(), None)
    place = "SELECT event_id FROM outbox_cursors"
    (before,) = post.installation.query(place)
    hook.look()
    post.clock.pass_by(hours=23)
    hook.look()
    assert post.installation.query(place) == [before]
    post.clock.pass_by(hours=2)
    hook.look()
    (after,) = post.installation.query(place)
    assert after["event_id"] > before["event_id"]


def test_one_process_calls_a_hook(post: Post, make: Make, path: Path) -> None:
    """The second one has no lease."""
    make("videodock_hooks_example:post_task")
    second = make("videodock_hooks_example:post_task", worker="other/1")
    assert second._feed is None
