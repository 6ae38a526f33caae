"""The plan of a file: what each of its steps will cost, from what is known of it.

Rule: a plan decides nothing. It is for the progress and the remaining time only, and a wrong one costs no video.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from server import media_types
from server.database.models import TaskFile
from server.pipeline import costs
from server.pipeline.costs import Cost, Material
from server.pipeline.order import groups
from server.pipeline.step import Step
from server.settings import Settings
from server.tasks import durations
from server.tasks.durations import StepTime
from server.worker.learned_costs import Observation
from server.worker.progress import Plan, TaskProgress


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Makes the plans of one attempt."""

    progress: TaskProgress
    settings: Settings
    steps: Sequence[Step]

    def task(self, files: Iterable[TaskFile]) -> None:
        """Plan the files of a task."""
        for file in files:
            self.file(file, facts(file))

    def file(self, file: TaskFile, found: Mapping[str, object], ended: Iterable[str] = ()) -> None:
        """Plan a file by what was found out of it; `ended` are the steps that earlier attempts have ended."""
        media_type = media_types.get(file.media_type) if file.media_type else None
        steps = [step for step in self.steps if step.applies_to(media_type) and step.is_wanted(self.settings)]
        known = costs.material(found, file.size, file.media_type)
        plan, whole = make(steps, known, self.settings), by_size(steps, file.size, file.media_type, self.settings)
        # A file without steps that look at it, and one of which a step found the facts, are known.
        is_guess = known.is_guess and media_type is not None
        self.progress.plan(file.id, file.position, plan, whole, is_guess=is_guess, ended=frozenset(ended))


def facts(file: TaskFile) -> dict[str, object]:
    """The columns of a file."""
    return {column.key: getattr(file, column.key) for column in TaskFile.__table__.columns}


def make(steps: Sequence[Step], known: Material, settings: Settings) -> Plan:
    """The costs of these steps, in their groups."""
    return [[(step.name, step.cost(known, settings)) for step in group] for group in groups(steps)]


def by_size(steps: Sequence[Step], size: int, container: str | None, settings: Settings) -> Cost:
    """What a file costs of which nothing is known but its bytes and its type."""
    plan = make(steps, costs.material({}, size, container), settings)
    return Cost(f"file {container}", sum(max(cost.seconds for _, cost in group) for group in plan))


def observations(times: Sequence[StepTime], steps: Sequence[Step], settings: Settings) -> Sequence[Observation]:
    """What the last steps of this machine tell about their costs."""
    known = {step.name: step for step in steps if step.is_wanted(settings)}
    mine = [one for one in times if one.name in known]
    found, files = list[Observation](), dict[str, list[StepTime]]()
    planned = [(one, known[one.name].cost(_material(one), settings)) for one in mine]
    heavy = [one for one, cost in planned if cost.is_heavy]
    crowds = {id(one): crowd for one, crowd in zip(heavy, durations.crowds(heavy), strict=True)}
    for one, cost in planned:
        files.setdefault(one.file_id, []).append(one)
        seconds = (one.finished_at - one.started_at).total_seconds()
        found.append(Observation(cost, seconds, crowds.get(id(one), 1.0)))
    for of_file in files.values():
        seconds = (max(one.finished_at for one in of_file) - min(one.started_at for one in of_file)).total_seconds()
        seen = _material(of_file[0])
        wanted = [step for step in steps if step.name in {one.name for one in of_file}]
        found.append(Observation(by_size(wanted, seen.size, seen.container, settings), seconds))
    return found


def _material(one: StepTime) -> Material:
    size, container = one.facts.get("size"), one.facts.get("container")
    return costs.material(
        one.facts, size if isinstance(size, int) else 0, container if isinstance(container, str) else None
    )
