"""What must be true when the chaos is over: every task has ended once, as its events say, and nothing is left over.

Rule: it only looks, and says in sentences what is wrong.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import select

from server.database.models import Task, TaskEvent, TaskFile, TaskStep
from server.lifecycle import FILE_MOVES, STEP_MOVES, FileStatus, StepStatus, TaskStatus, ends
from tests.harness.chaos import POISON, ChaosScenario
from tests.harness.chaos_worker import result_text

_ENDS = [status.value for status in (TaskStatus.COMPLETED, TaskStatus.ERROR, TaskStatus.CANCELLED)]
_FILE_ENDS = ("file_completed", "file_error")
_OVER = {*ends(STEP_MOVES), StepStatus.SKIPPED}
_MOMENT = 2.0  # seconds between a row that says that a step begins, and its first line, on a busy machine


def findings(scenario: ChaosScenario) -> list[str]:
    """Everything that is not as it must be."""
    with scenario.services.database.read() as session:
        tasks = list(session.scalars(select(Task)))
        files, steps, events = defaultdict(list), defaultdict(list), defaultdict(list)
        for file in session.scalars(select(TaskFile)):
            files[file.task_id].append(file)
        for step in session.scalars(select(TaskStep)):
            steps[step.file_id].append(step)
        for event in session.scalars(select(TaskEvent).order_by(TaskEvent.id)):
            events[event.task_id].append(event)
    found = [] if {task.id for task in tasks} == set(scenario.orders) else ["tasks were lost, or came from nowhere"]
    for task in tasks:
        found += _of_task(scenario, task, files[task.id], events[task.id])
        for file in files[task.id]:
            found += _of_file(scenario, task, file, steps[file.id], events[task.id])
    return [*found, *_of_log(scenario, {task.id: task for task in tasks}), *_overtaken(scenario)]


def _of_task(scenario: ChaosScenario, task: Task, files: list[TaskFile], events: list[TaskEvent]) -> Iterator[str]:
    kinds = Counter(event.type for event in events)
    name = f"task {task.id} ({task.status.value}, attempt {task.attempt})"
    ended = [event.type for event in events if event.type in _ENDS]
    if ended != [task.status.value]:
        yield f"{name}: its ends are {ended}"
    if events and events[-1].type not in _ENDS:
        yield f"{name}: {events[-1].type} came after its end"
    if (kinds["uploaded"], kinds["processing"]) != (1, task.attempt):
        yield f"{name}: registered {kinds['uploaded']} times, claimed {kinds['processing']} times"
    settings = scenario.services.settings
    if task.failures > settings.task_max_attempts:
        yield f"{name}: {task.failures} failures"
    if task.attempt > 1 + task.failures + kinds["waiting"]:
        yield f"{name}: {task.failures} failures and {kinds['waiting']} pauses do not explain its attempts"
    left = (task.worker, task.lease_expires_at, task.waiting_code, task.eta_seconds)
    if left != (None,) * 4 or task.finished_at is None:
        yield f"{name}: it has left {left}, finished {task.finished_at}"
    failed = [file for file in files if file.status is FileStatus.ERROR]
    if task.status is TaskStatus.COMPLETED and (task.partial != bool(failed) or task.progress != 100):
        yield f"{name}: partial {task.partial}, progress {task.progress}, {len(failed)} of its files failed"
    if (task.status is TaskStatus.ERROR) != (len(failed) == len(files)):
        yield f"{name}: {len(failed)} of its {len(files)} files failed"
    gave_up = task.failures >= settings.task_max_attempts
    if task.status is not TaskStatus.CANCELLED and POISON in scenario.orders[task.id] and not gave_up:
        yield f"{name}: it kills its workers, and was not given up"


def _of_file(
    scenario: ChaosScenario, task: Task, file: TaskFile, steps: list[TaskStep], events: list[TaskEvent]
) -> Iterator[str]:
    name = f"file {file.position} of task {task.id} ({file.status.value})"
    ended = [event.type for event in events if event.type in _FILE_ENDS and (event.data or {})["file"] == file.id]
    if ended != ([] if file.status is FileStatus.CANCELLED else [f"file_{file.status.value}"]):
        yield f"{name}: its ends are {ended}"
    if file.status not in ends(FILE_MOVES):
        yield f"{name}: it has not ended, its task is {task.status.value}"
    for step in steps:
        if step.status not in _OVER:
            yield f"{name}: {step.name} is {step.status.value}"
    order = scenario.orders[task.id][file.position - 1]
    gave_up = file.error_code == "too_many_attempts"
    if file.status in (FileStatus.COMPLETED, FileStatus.ERROR) and not gave_up:
        expected = (
            FileStatus.ERROR if order.get("step") == "probe" and order["what"] == "refuse" else FileStatus.COMPLETED
        )
        if file.status is not expected:
            yield f"{name}: {order} ends so, by {file.error_code}"
    states = {step.name: step.status for step in steps}
    if task.status is TaskStatus.CANCELLED and not (file.has_poster or file.has_mp4 or file.playable):
        states = {}  # a sweep has taken away what was made of it, all at once
        if not task.has_results and scenario.services.results.has_any(task.id, file.id):
            yield f"{name}: what was made of it is said to be gone, and is there"
    elif file.status is FileStatus.COMPLETED and not (file.has_mp4 and file.playable and file.width):
        yield f"{name}: what it was processed for is missing"
    yield from _of_results(scenario, file, name, states)


def _of_results(scenario: ChaosScenario, file: TaskFile, name: str, states: Mapping[str, StepStatus]) -> Iterator[str]:
    for column, step_name, made in ((file.has_poster, "poster", "poster.jpg"), (file.has_mp4, "mp4", "video.mp4")):
        if column != (states.get(step_name) is StepStatus.COMPLETED):
            yield f"{name}: {step_name} is {states.get(step_name)}, its column says {column}"
        path = scenario.services.results.local_path(file.task_id, file.id, made)
        if column and (path is None or path.read_text() != result_text(file.task_id, file.id, step_name)):
            yield f"{name}: {made} is not what was made"


def _of_log(scenario: ChaosScenario, tasks: dict[str, Task]) -> Iterator[str]:
    """No step ran twice in an attempt, none began in a task that had ended."""
    begun: Counter[tuple[Any, ...]] = Counter()
    for line in lines(scenario):
        if line["what"] != "begin":
            continue
        begun[line["file"], line["step"], line["attempt"]] += 1
        task = tasks[line["task"]]
        if line["attempt"] > task.attempt:
            yield f"task {task.id}: attempt {line['attempt']} was never claimed"
        late = task.finished_at is not None and line["at"] - task.finished_at.timestamp()
        if late and late > _MOMENT and line["pid"] not in scenario.frozen:
            yield f"task {task.id}: {line['step']} began {late:.1f} s after its end"
    for run, times in begun.items():
        if times > 1:
            yield f"{run} ran {times} times"


def _overtaken(scenario: ChaosScenario) -> Iterator[str]:
    """Nobody goes on with a task that another has begun since: a step may still end then, and none comes after it."""
    newest: Counter[str] = Counter()
    ended_late: set[tuple[str, int]] = set()
    for line in sorted(lines(scenario), key=lambda line: float(line["at"])):
        attempt = (line["task"], line["attempt"])
        is_late = line["attempt"] < newest[line["task"]]
        if line["what"] == "end":
            ended_late |= {attempt} if is_late else set()
            continue
        if attempt in ended_late:
            yield f"task {line['task']}: attempt {line['attempt']} went on with {line['step']}, though another had it"
        newest[line["task"]] = max(newest[line["task"]], line["attempt"])


def lines(scenario: ChaosScenario) -> list[dict[str, Any]]:
    """What the steps have written; a line that was cut off by a kill is none."""
    text = (scenario.folder / "steps.log").read_text()
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def figures(scenario: ChaosScenario) -> str:
    """What happened, for people."""
    with scenario.services.database.read() as session:
        tasks = list(session.scalars(select(Task)))
    by_end = Counter(task.status.value for task in tasks)
    gave_up = sum(task.failures >= scenario.services.settings.task_max_attempts for task in tasks)
    runs: Counter[tuple[str, str]] = Counter()
    ended: Counter[tuple[str, str]] = Counter()
    for line in lines(scenario):
        (runs if line["what"] == "begin" else ended)[line["file"], line["step"]] += 1
    return (
        f"{dict(by_end)}, given up {gave_up}; attempts {sum(task.attempt for task in tasks)}, "
        f"failures {sum(task.failures for task in tasks)}; runs of steps {sum(runs.values())}, "
        f"ended {sum(ended.values())}, of these again {sum(n - 1 for n in ended.values())}; {dict(scenario.done)}"
    )
