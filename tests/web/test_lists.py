"""GET /api/tasks and GET /api/uploads: what is whose, pages, filters and what is refused, on both databases."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.harness.http import serving
from tests.tus.client import MOUNT, VERSION, patch_headers, video
from tests.web.owned import Owned


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def owned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owned]:
    with serving(request, tmp_path_factory.mktemp("lists"), auth="on", downloads="on", playback="signed") as live:
        yield Owned(live)


def ids(content: dict[str, list[dict[str, str]]]) -> list[str]:
    (found,) = [content[key] for key in ("tasks", "uploads") if key in content]
    return [one.get("task_id") or one["id"] for one in found]


def every(owned: Owned, path: str, who: str) -> list[str]:
    """What all pages together have."""
    found: list[str] = []
    cursor = ""
    while True:
        page = owned.get(f"{path}{cursor}", who)
        found += ids(page)
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


def test_a_list_is_the_owners_statuses_in_pages(owned: Owned) -> None:
    """The newest first; each as its status, without `steps`; nothing twice, whatever is added meanwhile."""
    made = [owned.task("pages", passthrough=str(number)) for number in range(5)]
    first = owned.get("/api/tasks?limit=2", "pages")
    assert ids(first) == made[:2:-1]
    for one in first["tasks"]:
        status = owned.get(f"/api/task/status/{one['task_id']}", "pages")
        del status["success"]
        for file in status["files"]:
            del file["steps"]
        assert one == status
        assert "original_url" in one["files"][0]
    owned.task("pages")
    second = owned.get(f"/api/tasks?limit=3&cursor={first['next']}", "pages")
    assert (ids(second), second["next"]) == (made[2::-1], None)
    assert [one["passthrough"] for one in second["tasks"]] == ["2", "1", "0"]
    assert owned.ask("HEAD", "/api/tasks", "pages").status == 200
    assert owned.get("/api/tasks", "nobody") == {"success": True, "tasks": [], "next": None}


def test_filters_of_tasks(owned: Owned) -> None:
    """Status, name, time; removed ones are told as `cancelled`, and are listed where they are asked for."""
    done, failed, gone, waiting = (owned.task("filters", filename=f"{name}.mp4") for name in "abcd")
    owned.set_status(done, "completed")
    owned.set_status(failed, "error")
    assert owned.json("DELETE", f"/api/task/{gone}", "filters")[0] == 200
    owned.json("PATCH", f"/api/task/{waiting}", "filters", {"title": "Überfahrt"})
    owned.live.execute("UPDATE tasks SET created_at = :at WHERE id = :id", at="2020-02-02 10:00:00.000000", id=failed)
    expected = {
        "": [waiting, done, failed],
        "status=completed": [done],
        "status=completed,error": [done, failed],
        "status=error&status=completed": [done, failed],
        "status=cancelled": [],
        "status=cancelled&removed=1": [gone],
        "status=removed": [gone],
        "removed=true": [waiting, gone, done, failed],
        "status=error&removed=1": [failed],
        "name=A.MP4": [done],
        f"name={quote('überFAHRT')}": [waiting],
        "name=.mp4": [waiting, done, failed],
        "name=.mp4&status=error": [failed],
        "to=2020-02-02T10:00:00Z": [],
        "to=2020-02-02T10:00:01Z": [failed],
        "from=2020-02-02T10:00:00Z&to=2021-01-01": [failed],
        "from=2020-02-02T12:00:00%2B02:00&to=2020-02-02T11:00:01+01:00": [failed],
        "from=2021-01-01": [waiting, done],
        "owner=filters&limit=200": [waiting, done, failed],
        "_=1700000000": [waiting, done, failed],
    }
    found = {query: ids(owned.get(f"/api/tasks?{query}", "filters")) for query in expected}
    assert found == expected
    for query in ("", "removed=1&", "name=.mp4&"):
        assert every(owned, f"/api/tasks?{query}limit=1", "filters") == ids(owned.get(f"/api/tasks?{query}", "filters"))
    (removed,) = owned.get("/api/tasks?status=removed", "filters")["tasks"]
    assert (removed["status"], removed["removed"]) == ("cancelled", True)


REFUSED = [
    "limit=0",
    "limit=201",
    "limit=-1",
    "limit=1e2",
    "limit=%D9%A1",  # a digit, but not of ASCII
    "limit=99999999999999999999",
    "limit=1&limit=2",
    "status=done",
    "status=completed,,done",
    "from=yesterday",
    "from=2026-13-01",
    "to=0001-01-01T00:00:00%2B14:00",
    "from=9999-12-31T23:59:59-14:00",
    "from=%00",
]
REFUSED_OF_TASKS = ["removed=maybe", f"name={'x' * 256}", "name=a&name=b"]


@pytest.mark.parametrize("path", ["/api/tasks", "/api/uploads"])
def test_what_cannot_be_understood_is_refused(owned: Owned, path: str) -> None:
    """With the field's name; and a cursor of another list, of another owner or of nobody with a code of its own."""
    for query in [*REFUSED, *(REFUSED_OF_TASKS if path == "/api/tasks" else [])]:
        status, answer = owned.json("GET", f"{path}?{query}")
        assert (status, answer["code"]) == (400, "field_invalid"), query
        assert query.partition("=")[0] in answer["message"]
    owned.task("cursors")
    owned.task("cursors")
    cursor = owned.get(f"{path}?limit=1", "cursors")["next"]
    assert cursor
    other = "/api/uploads" if path == "/api/tasks" else "/api/tasks"
    for query, who in (
        (f"{path}?cursor={cursor}", "ann"),
        (f"{path}?cursor={cursor}", "root:admin"),
        (f"{path}?cursor={cursor}&status={'open' if path == '/api/uploads' else 'uploaded'}", "cursors"),
        (f"{path}?cursor={cursor}&from=2020-01-01", "cursors"),
        (f"{other}?cursor={cursor}", "cursors"),
        (f"{path}?cursor={cursor[:-1]}", "cursors"),
        (f"{path}?cursor=%00", "cursors"),
    ):
        assert owned.refused("GET", query, who) == (400, "cursor_invalid"), query


@pytest.mark.parametrize("path", ["/api/tasks", "/api/uploads"])
def test_only_an_administrator_sees_what_is_foreign(owned: Owned, path: str) -> None:
    """Of one owner or of all, and the audit log has it; another owner is refused, whether there is such an owner."""
    mine, theirs = owned.task("one"), owned.task("two")
    assert ids(owned.get(path, "one")) == [mine]
    for owner in ("two", "nobody", "%00"):
        assert owned.refused("GET", f"{path}?owner={owner}", "one") == (403, "scope_missing")
    assert ids(owned.get(f"{path}?owner=two", "root:admin")) == [theirs]
    both = owned.get(f"{path}?limit=2", "root:admin")
    assert ids(both) == [theirs, mine]
    assert [one["owner"] for one in both[path.rpartition("/")[2]]] == ["two", "one"]
    assert owned.refused("GET", f"{path}?owner=%00", "root:admin") == (400, "field_invalid")
    assert every(owned, f"{path}?limit=200", "root:admin")[:2] == [theirs, mine]
    assert owned.actions()[-1] == f"foreign_{path.rpartition('/')[2]}_listed"
    assert owned.refused("GET", path, "one:upload") == (403, "scope_missing")
    assert owned.refused("GET", path, "") == (401, "authentication_required")
    owned.live.execute("DELETE FROM task_files WHERE task_id IN (:a, :b)", a=mine, b=theirs)
    owned.live.execute("DELETE FROM tasks WHERE id IN (:a, :b)", a=mine, b=theirs)
    owned.live.execute("DELETE FROM uploads WHERE id IN (:a, :b)", a=mine, b=theirs)


def test_a_list_of_uploads(owned: Owned) -> None:
    """Open ones with the offset of the store, whatever the row has by then; each with what its client needs."""
    segment = owned.open("uploads", have=400, passthrough="mine")
    upload = segment.partition("~")[0]
    owned.live.execute("UPDATE uploads SET received = 0 WHERE id = :id", id=upload)
    (one,) = owned.get("/api/uploads", "uploads")["uploads"]
    assert one.pop("created_at") < one.pop("expires_at")
    assert one == {
        "id": upload,
        "url": f"http://videodock.test{MOUNT}/{segment}",
        "filename": "a.mp4",
        "size": 1000,
        "offset": 400,
        "status": "open",
        "protocol": "tus",
        "partial": False,
        "task_id": upload,
        "passthrough": "mine",
        "completed_at": None,
    }
    path = one["url"].removeprefix("http://videodock.test")
    assert owned.ask("PATCH", path, "", patch_headers(400), video(1000)[400:]).status == 204
    (one,) = owned.get("/api/uploads?status=complete", "uploads")["uploads"]
    assert (one["offset"], one["expires_at"]) == (1000, None)
    assert one["completed_at"]
    assert owned.get("/api/uploads?status=open", "uploads")["uploads"] == []
    # Whose bytes are in another data folder: what the row has.
    other = owned.open("uploads", have=300)
    owned.live.path(other.partition("~")[0]).unlink()
    owned.live.execute("UPDATE uploads SET received = 250 WHERE id = :id", id=other.partition("~")[0])
    (one,) = owned.get("/api/uploads?status=open", "uploads")["uploads"]
    assert one["offset"] == 250


def test_a_signed_url_is_for_who_may_do_all_that_it_allows(owned: Owned) -> None:
    """Whoever has it may continue and end the upload: a reader gets the plain one."""
    upload = owned.open("urls").partition("~")[0]
    for scopes, signed in (("upload,read,manage", True), ("read", False), ("read,upload", False), ("admin", True)):
        page = owned.get("/api/uploads?owner=urls", f"{'root' if scopes == 'admin' else 'urls'}:{scopes}")
        (one,) = page["uploads"]
        assert ("~" in one["url"]) == signed
        answer = owned.ask("HEAD", one["url"].removeprefix("http://videodock.test"), "", VERSION)
        assert answer.status == (200 if signed else 401)
    assert owned.ask("HEAD", f"{MOUNT}/{upload}", "", VERSION).status == 401


def test_states_of_uploads(owned: Owned) -> None:
    """Those that are gone are listed only where their state is asked for; parts and files of forms as what they are."""
    expired, ended, refused = owned.open("states"), owned.open("states"), owned.open("states", length=100)
    assert owned.ask("PATCH", f"{MOUNT}/{refused}", "", patch_headers(0), b"no video" * 10).status == 415
    owned.live.execute("UPDATE uploads SET status = 'expired' WHERE id = :id", id=expired.partition("~")[0])
    assert owned.ask("DELETE", f"{MOUNT}/{ended}", "", VERSION).status == 204
    headers = VERSION | {"Upload-Length": "10", "Upload-Concat": "partial"}
    part = owned.ask("POST", MOUNT, "states", headers).headers["location"].rpartition("/")[2]
    assert owned.form(("videos", "f.mp4", video(500)), who="states")[0] == 200
    found = owned.get("/api/uploads", "states")["uploads"]
    assert [(one["status"], one["protocol"], one["partial"]) for one in found] == [
        ("complete", "multipart", False),
        ("open", "tus", True),
        ("rejected", "tus", False),
    ]
    assert [one["url"] is None for one in found] == [True, False, True]
    assert found[1]["id"] == part.partition("~")[0]
    assert [one["task_id"] is None for one in found] == [False, True, False]
    gone = owned.get("/api/uploads?status=expired,terminated", "states")["uploads"]
    assert [(one["id"], one["status"]) for one in gone] == [
        (ended.partition("~")[0], "terminated"),
        (expired.partition("~")[0], "expired"),
    ]


def test_other_methods_are_refused(owned: Owned) -> None:
    """With those that there are."""
    for path in ("/api/tasks", "/api/uploads"):
        answer = owned.ask("POST", path, "ann")
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        preflight = owned.ask("OPTIONS", path, "", {"Origin": "https://a.example"})
        assert preflight.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
