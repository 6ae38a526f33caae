"""An operator who runs the commands in this process, and tasks in every state for the commands."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
from click.testing import CliRunner, Result

from server.bootstrap import Services
from server.database.models import DEFAULT_OWNER
from server.database.session import changed
from server.errors import StepError
from server.uploads.new_upload import NewUpload
from server.worker.runner import runner_of
from tests.harness.steps import FakeStep, failing

SetSteps = Callable[..., None]
"""Replaces the steps of the pipeline in one test."""


@dataclass
class Operator:
    """The commands in this process, on a database and a data folder of their own."""

    services: Services
    group: click.Group

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(self.group, arguments, prog_name="videodock")

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    def refused(self, *arguments: str) -> tuple[int, str]:
        """Exit code and the sentence; nothing else is printed."""
        done = self.run(*arguments)
        assert (done.stdout, done.stderr.count("\n")) == ("", 1), done.output
        return done.exit_code, done.stderr.strip()

    def change(self, statement: Any) -> None:
        with self.services.database.write() as session:
            assert changed(session, statement)

    def kinds(self, task_id: str) -> list[str]:
        """The events of the task itself."""
        events = self.json("tasks", "show", task_id)["events"]
        return [event["type"] for event in events if event["upload_id"] is None]


def register_task(services: Services, *names: str, protocol: str = "tus", owner: str = DEFAULT_OWNER) -> str:
    """A task of files of these names, that waits; of one file it has the upload's id."""
    ids = [services.new_id() for _ in names]
    task_id = ids[0] if len(ids) == 1 else services.new_id()
    kind = protocol if len(ids) == 1 else "multipart"
    values: dict[str, Any] = {"protocol": kind, "task_id": task_id, "length": 5}
    for upload_id, name in zip(ids, names, strict=True):
        services.repository.insert(NewUpload(id=upload_id, owner=owner, filename=name, **values))
        services.store.local_path(upload_id).write_bytes(b"12345")
        services.store.finish(upload_id)
    services.completion.complete_verified(dict.fromkeys(ids, "mp4"), task_id)
    return task_id


def run_attempt(services: Services) -> bool:
    """One attempt at whatever can be claimed; whether there was something."""
    claimed = runner_of(services).claim_next("test/1")
    if claimed:
        runner_of(services).attempt(claimed, "").run()
    return claimed is not None


def failed_task(operator: Operator, set_steps: SetSteps, *names: str) -> str:
    """A task all of whose files have failed at their first step."""
    set_steps(FakeStep("probe", failing(*[StepError("not_playable") for _ in names])), FakeStep("poster"))
    task_id = register_task(operator.services, *names)
    assert run_attempt(operator.services)
    return task_id
