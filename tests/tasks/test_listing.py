"""Pages of tasks: what is listed, the search by name, and how many statements a page takes, on both databases."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, update
from sqlalchemy.orm import Session

from server.database import keyset
from server.database.keyset import Key, Span
from server.database.models import DEFAULT_OWNER, Task, TaskFile, TaskStep
from server.database.session import Database, changed
from server.lifecycle import StepStatus, TaskStatus
from server.messages import Language
from server.tasks import changes, listing, removal
from server.tasks.listing import TaskPage
from server.tasks.status import Places, as_json, find
from tests.tasks.queued_tasks import NOW, claimed, new_id, register, write

ALL = listing.statuses((), with_removed=False)
MINE = Span(owner=DEFAULT_OWNER, statuses=ALL)
CHINESE: Language = "zh"


def page(database: Database, span: Span = MINE, name: str = "", after: Key | None = None, limit: int = 50) -> TaskPage:
    with database.snapshot() as session:
        return listing.page(session, span, name, after, limit)


def ids(found: TaskPage) -> list[str]:
    return [one.task.id for one in found.tasks]


def named(database: Database, *names: str, title: str | None = None, seconds: int = 0) -> str:
    """A task of files with these names."""
    task_id = register(database, files=len(names), at=NOW + timedelta(seconds=seconds))
    with database.write() as session:
        for position, name in enumerate(names, 1):
            this = (TaskFile.task_id == task_id, TaskFile.position == position)
            assert changed(session, update(TaskFile).where(*this).values(name=name))
        changed(session, update(Task).where(Task.id == task_id).values(title=title))
    return task_id


def test_words_mean_states() -> None:
    """A removed task is told as `cancelled`, and is listed only if it is asked for."""
    removed = TaskStatus.REMOVED
    assert listing.statuses((), with_removed=False) == set(TaskStatus) - {removed}
    assert listing.statuses((), with_removed=True) == set(TaskStatus)
    assert listing.statuses([removed], with_removed=False) == {removed}
    assert listing.statuses([TaskStatus.CANCELLED], with_removed=False) == {TaskStatus.CANCELLED}
    assert listing.statuses([TaskStatus.CANCELLED], with_removed=True) == {TaskStatus.CANCELLED, removed}
    assert listing.statuses([TaskStatus.ERROR], with_removed=True) == {TaskStatus.ERROR}


def test_an_owners_tasks_are_listed_by_state_and_time(database: Database) -> None:
    """The newest first; those of other owners only where all are asked for, removed ones only by their state."""
    old, young = register(database), register(database, at=NOW + timedelta(seconds=1))
    other = register(database, owner="bob", at=NOW + timedelta(seconds=2))
    gone = register(database, at=NOW + timedelta(seconds=3))
    write(database, removal.remove_task, gone, DEFAULT_OWNER, even_running=False, now=NOW)
    assert ids(page(database)) == [young, old]
    assert ids(page(database, Span(owner=None, statuses=ALL))) == [other, young, old]
    assert ids(page(database, Span(owner="bob", statuses=ALL))) == [other]
    assert ids(page(database, Span(owner=None, statuses=frozenset({TaskStatus.REMOVED})))) == [gone]
    running = claimed(database).task_id
    assert ids(page(database, Span(owner=None, statuses=frozenset({TaskStatus.PROCESSING})))) == [running]
    since = NOW + timedelta(seconds=1)
    assert ids(page(database, Span(owner=DEFAULT_OWNER, statuses=ALL, since=since))) == [young]
    assert ids(page(database, Span(owner=DEFAULT_OWNER, statuses=ALL, until=since))) == [old]


def test_a_page_ends_with_the_place_of_its_last_task(database: Database) -> None:
    """None where no other task follows, also where the page is exactly full."""
    made = [register(database) for _ in range(5)]  # all at one time
    first = page(database, limit=2)
    assert first.last == Key(NOW, ids(first)[1])
    second = page(database, after=first.last, limit=3)
    assert second.last is None
    assert [*ids(first), *ids(second)] == sorted(made, reverse=True)
    assert page(database, after=Key(NOW, ids(second)[-1])).tasks == []


FOUND = [
    ("HOLI", ["holiday.mp4"], None, True),
    ("day.mp", ["a.mov", "Holiday.mp4"], None, True),
    ("ÜBER", ["u\u0308berfahrt.mp4"], None, True),  # as macOS writes names
    ("strasse", ["Straße.mp4"], None, True),
    ("假期", ["我的假期.mp4"], None, True),
    ("summer", ["a.mp4"], "Last Summer", True),
    ("%", ["a.mp4"], None, False),
    ("_", ["ab.mp4"], None, False),
    ("mp4b", ["a.mp4", "b.mp4"], None, False),  # not across two names
]


@pytest.mark.parametrize(("name", "files", "title", "is_found"), FOUND)
def test_a_search_reads_names_as_people_do(
    database: Database, name: str, files: Sequence[str], title: str | None, is_found: bool
) -> None:
    """A part of a file's name or of the title, whatever its case; wildcards of SQL are letters like others."""
    task_id = named(database, *files, title=title)
    named(database, "other.mov")
    assert ids(page(database, name=name)) == ([task_id] if is_found else [])


def test_a_search_goes_on_where_it_ended(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It examines so many tasks for a page, and the next page goes on: none is left out, none comes twice."""
    monkeypatch.setattr(keyset, "LARGEST_BATCH", 3)
    monkeypatch.setattr(listing, "MOST_EXAMINED", 6)
    wanted = [named(database, "x.mp4" if n % 7 == 3 else "y.mp4", seconds=n) for n in range(40)]
    wanted = [task_id for n, task_id in enumerate(wanted) if n % 7 == 3][::-1]
    for limit in (1, 2, 50):
        found: list[str] = []
        after, pages = None, 0
        while True:
            one = page(database, name="X.", after=after, limit=limit)
            found += ids(one)
            after, pages = one.last, pages + 1
            if after is None:
                break
        assert found == wanted
        assert pages >= 40 // 6


def test_a_page_takes_the_same_statements(database: Database) -> None:
    """However many tasks and files it has: no statement for each of them."""
    counts = []
    for tasks in (1, 30):
        for _ in range(tasks):
            register(database, files=3)
        for name in ("", "a"):
            seen: list[str] = []

            def remember(_c: Any, _cursor: Any, statement: str, *_: Any, into: list[str] = seen) -> None:
                into.append(statement)

            event.listen(database.engine, "before_cursor_execute", remember)
            page(database, name=name)
            event.remove(database.engine, "before_cursor_execute", remember)
            counts.append(len([one for one in seen if one.startswith("SELECT")]))
    assert counts[:2] == counts[2:]
    assert counts[0] == len(ALL) + 3


def test_a_listed_task_is_as_its_status(database: Database) -> None:
    """But for `steps`: also while a scan hides its results, and while a group waits for uploads."""
    shown, hidden, group = register(database, files=2), register(database), register(database)
    with database.write() as session:
        changed(session, update(TaskFile).values(has_mp4=True, playable=True))
        changed(session, update(Task).values(playable=True))
        changed(session, update(Task).where(Task.id == group).values(gather_until=NOW, file_count=3))
        for task_id, status in ((shown, StepStatus.COMPLETED), (hidden, StepStatus.PROCESSING)):
            _add_step(session, task_id, "scan", status)
            _add_step(session, task_id, "probe", StepStatus.WAITING)
    places = Places("http://a", None, {})
    listed = {one.task.id: as_json(one, places, CHINESE, with_steps=False) for one in page(database).tasks}
    for task_id in (shown, hidden, group):
        with database.read() as session:
            told: Any = as_json(find(session, task_id, None), places, CHINESE)
        for file in told["files"]:
            del file["steps"]
        assert listed[task_id] == told
    assert (listed[shown]["playable"], listed[hidden]["playable"]) == (True, False)
    assert listed[group]["message"] == "等待其余文件 (1/3)"


def _add_step(session: Session, task_id: str, name: str, status: StepStatus) -> None:
    for file in session.query(TaskFile).where(TaskFile.task_id == task_id):
        values = {"file_id": file.id, "name": name, "position": 1, "status": status}
        session.execute(insert(TaskStep).values(**values))


def test_an_unknown_place_is_a_place(database: Database) -> None:
    """A task that was deleted since does not end the list."""
    made = sorted([register(database) for _ in range(3)], reverse=True)
    between = made[0][:-1] + ("0" if made[0][-1] != "0" else "1")
    assert ids(page(database, after=Key(NOW, between))) == [one for one in made if one < between]
    assert ids(page(database, after=Key(NOW + timedelta(days=1), new_id()))) == made


def test_a_change_is_what_the_status_has(database: Database) -> None:
    """Title and passthrough are set and cleared one by one; nothing else changes."""
    task_id = register(database)
    write(database, changes.change, task_id, DEFAULT_OWNER, {"title": "A", "passthrough": "b"}, now=NOW)
    write(database, changes.change, task_id, None, {"title": None}, now=NOW + timedelta(seconds=1))
    with database.read() as session:
        task = session.get_one(Task, task_id)
    assert (task.title, task.passthrough, task.status) == (None, "b", TaskStatus.UPLOADED)
    assert task.updated_at == NOW + timedelta(seconds=1)
