"""Lists of tasks by name, duration, size and the oldest first: page by page, each task once, and bounded."""

from collections.abc import Iterator
from typing import Any

import pytest

from server.tasks import sorting
from tests.harness.http import serving
from tests.web.owned import Owned

# Title, name, seconds and bytes of each task, the oldest first.
FILMS: tuple[tuple[str | None, str, float | None, int], ...] = (
    (None, "b.mp4", 30.0, 500),
    ("Éclair", "x.mp4", 10.0, 900),
    (None, "A.mp4", None, 100),
    ("a film", "y.mp4", 30.0, 300),
    (None, "c.mp4", 20.5, 300),
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def owned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owned]:
    with serving(request, tmp_path_factory.mktemp("sorting"), auth="on") as live:
        owned = Owned(live)
        for title, name, seconds, size in FILMS:
            task = owned.task(filename=name)
            sql = "UPDATE task_files SET duration = :seconds, size = :size WHERE task_id = :id"
            live.execute(sql, id=task, seconds=seconds, size=size)
            live.execute("UPDATE tasks SET title = :title WHERE id = :id", id=task, title=title)
        owned.task("bob")
        yield owned


def pages(owned: Owned, query: str, limit: int = 2) -> list[dict[str, Any]]:
    """All tasks, page by page."""
    found: list[dict[str, Any]] = []
    following: str | None = ""
    while following is not None:
        page = owned.get(f"/api/tasks?{query}&limit={limit}" + (f"&cursor={following}" if following else ""))
        assert len(page["tasks"]) <= limit
        assert page["truncated"] is False
        found += page["tasks"]
        following = page["next"]
    return found


def names(tasks: list[dict[str, Any]]) -> list[str]:
    return [task["title"] or task["files"][0]["name"] for task in tasks]


def test_each_order_has_each_task_once(owned: Owned) -> None:
    """Ascending and descending, with pages of every size; what is unknown comes last."""
    for limit in (1, 2, 4, 5, 200):
        assert names(pages(owned, "sort=name&order=asc", limit)) == ["a film", "A.mp4", "b.mp4", "c.mp4", "Éclair"]
        assert names(pages(owned, "sort=name", limit)) == ["Éclair", "c.mp4", "b.mp4", "A.mp4", "a film"]
        oldest = names(pages(owned, "order=asc", limit))
        assert oldest == [title or name for title, name, _, _ in FILMS]
        shortest = [task["files"][0]["duration"] for task in pages(owned, "sort=duration&order=asc", limit)]
        assert shortest == [10.0, 20.5, 30.0, 30.0, None]
        longest = [task["files"][0]["duration"] for task in pages(owned, "sort=duration", limit)]
        assert longest == [30.0, 30.0, 20.5, 10.0, None]
        assert [task["files"][0]["size"] for task in pages(owned, "sort=size", limit)] == [900, 500, 300, 300, 100]
    assert len({task["task_id"] for task in pages(owned, "sort=duration", 1)}) == len(FILMS)
    found = pages(owned, "sort=size&name=.mp4&status=uploaded")
    assert [task["files"][0]["size"] for task in found] == [900, 500, 300, 300, 100]
    assert names(pages(owned, "sort=name&name=film")) == ["a film"]
    assert pages(owned, "sort=name&status=completed") == []


def test_more_tasks_than_it_sorts_are_told(owned: Owned, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are sorted, and the answer says that there are more."""
    monkeypatch.setattr(sorting, "MOST_SORTED", 3)
    page = owned.get("/api/tasks?sort=name&order=asc")
    assert (names(page["tasks"]), page["next"], page["truncated"]) == (["a film", "A.mp4", "c.mp4"], None, True)


def test_a_cursor_is_for_one_order(owned: Owned) -> None:
    """Another order, other filters and a damaged text are refused; so are words that are no order."""
    cursor = owned.get("/api/tasks?sort=size&limit=1")["next"]
    assert owned.get(f"/api/tasks?sort=size&limit=1&cursor={cursor}")["tasks"]
    for query in ("sort=name", "sort=size&order=asc", "sort=size&name=a", "sort=created", "sort=size&status=error"):
        assert owned.refused("GET", f"/api/tasks?{query}&cursor={cursor}") == (400, "cursor_invalid"), query
    for damaged in (cursor[:-3], "x", "%C3%A9", "A" * 9000):
        assert owned.refused("GET", f"/api/tasks?sort=size&cursor={damaged}") == (400, "cursor_invalid")
    for query in ("sort=colour", "order=up", "sort=name,size", "sort=name&sort=size"):
        assert owned.refused("GET", f"/api/tasks?{query}") == (400, "field_invalid"), query
