"""Links to videos: what they show to whom, until when, and that every URL of them ends with the share."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from server.auth.shares import MOST
from server.storage.results import Results
from tests.harness.http import Answer, LiveServer, serving
from tests.harness.waiting import until
from tests.web.owned import Owned

BASE = "http://videodock.test"
UNKNOWN = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
NAMES = ("poster.jpg", "video.mp4", "hls/index.m3u8", "hls/720p/segment-00001.m4s", "storyboard.vtt", "storyboard.jpg")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def owned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owned]:
    folder = tmp_path_factory.mktemp("shares")
    with serving(request, folder, auth="on", downloads="on", embed_ancestors="https://blog.example") as live:
        yield Owned(live)


def completed(owned: Owned, *, names: tuple[str, ...] = NAMES, who: str = "ann") -> str:
    """A task whose file has these results; each holds its own name."""
    task = owned.task(who)
    publish(owned.live, task, names)
    sql = "UPDATE tasks SET status = 'completed', finished_at = created_at, playable = :yes WHERE id = :id"
    owned.live.execute(sql, id=task, yes=True)
    return task


def publish(live: LiveServer, task: str, names: tuple[str, ...]) -> None:
    """Put results of the task's one file into place, as the steps do."""
    (row,) = live.query("SELECT id FROM task_files WHERE task_id = :id", id=task)
    results = Results(live.data_dir, syncs=False)
    folder = results.begin(task, 1, row["id"], "all")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    results.publish(task, 1, row["id"], "all")
    columns = "status = 'completed', has_poster = :yes, has_mp4 = :yes, has_hls = :yes, has_storyboard = :yes"
    columns += ", playable = :yes, duration = 3.0, width = 640, height = 480"
    live.execute(f"UPDATE task_files SET {columns} WHERE id = :id", id=row["id"], yes=True)


def share(owned: Owned, task: str, who: str = "ann", **body: object) -> tuple[str, str]:
    """The token and the id of a new share."""
    status, made = owned.json("POST", f"/api/task/{task}/shares", who, body)
    assert status == 201, made
    assert made["url"] == f"{BASE}/s/{made['token']}"
    assert made["share"]["state"] == "valid"
    return made["token"], made["share"]["id"]


def shared(owned: Owned, token: str) -> tuple[int, str]:
    """Status and code of what a link answers to somebody without a credential."""
    answer = owned.live.ask("GET", f"/api/shared/{token}")
    return answer.status, json.loads(answer.body).get("code", "")


def result(owned: Owned, token: str, name: str, query: str = "") -> Answer:
    """A result of the first file by a link."""
    return owned.live.ask("GET", f"/media/s/{token}/1/{name}{query}")


def test_a_link_shows_the_video_and_nothing_else(owned: Owned) -> None:
    """Title, facts and every result without a credential; no id, no owner; the list has no link."""
    task = completed(owned)
    token, one = share(owned, task)
    answer = owned.live.ask("GET", f"/api/shared/{token}")
    content = json.loads(answer.body)
    assert (answer.status, content["title"], content["playable"], content["expires_at"]) == (200, "a", True, None)
    assert content["embed_url"] == f"{BASE}/embed/{token}"
    assert task not in answer.text
    assert "ann" not in answer.text
    (file,) = content["files"]
    assert (file["duration"], file["width"], file["height"], file["playable"]) == (3.0, 640, 480, True)
    for key, name in (
        ("poster_url", "poster.jpg"),
        ("mp4_url", "video.mp4"),
        ("hls_url", "hls/index.m3u8"),
        ("storyboard_url", "storyboard.vtt"),
    ):
        assert file[key] == f"{BASE}/media/s/{token}/1/{name}"
    for name in NAMES:
        got = result(owned, token, name)
        assert (got.status, got.body) == (200, name.encode())
        assert got.headers["cache-control"] == "private, max-age=60"
    assert owned.json("PATCH", f"/api/task/{task}", "ann", {"title": "Ä/B"})[0] == 200
    assert json.loads(owned.live.ask("GET", f"/api/shared/{token}").body)["title"] == "Ä/B"
    saved = result(owned, token, "video.mp4", "?download=1").headers["content-disposition"]
    assert saved == "attachment; filename=\"__B.mp4\"; filename*=UTF-8''%C3%84_B.mp4"
    assert "content-disposition" not in result(owned, token, "video.mp4").headers
    (listed,) = owned.get(f"/api/task/{task}/shares")["shares"]
    assert (listed["id"], listed["state"]) == (one, "valid")
    assert token not in json.dumps(listed)
    (row,) = owned.live.query("SELECT * FROM shares WHERE task_id = :id", id=task)
    assert token not in str(row)
    assert result(owned, token, "../../video.mp4").status == 404
    assert owned.live.ask("GET", f"/media/s/{token}/2/video.mp4").status == 404
    assert owned.live.ask("GET", f"/media/s/{token}/x/video.mp4").status == 404


def test_a_revoked_link_shows_nothing(owned: Owned) -> None:
    """The page and each result answer 410 with the reason; another link to the same video stays."""
    task = completed(owned)
    token, one = share(owned, task)
    other, _ = share(owned, task)
    assert result(owned, token, "video.mp4").status == 200
    path = f"/api/task/{task}/shares/{one}"
    for _ in range(2):
        assert owned.json("DELETE", path)[0] == 200
    assert shared(owned, token) == (410, "share_revoked")
    refused = result(owned, token, "video.mp4")
    assert (refused.status, json.loads(refused.body)["code"]) == (410, "share_revoked")
    assert shared(owned, other) == (200, "")
    states = {row["id"]: row["state"] for row in owned.get(f"/api/task/{task}/shares")["shares"]}
    assert states[one] == "revoked"
    assert owned.actions()[-4:] == ["share_created", "share_created", "share_revoked", "share_revoked"]


def test_a_link_ends_with_its_time(owned: Owned) -> None:
    """410 for the page and each result from then on, in a process that knew the share before."""
    task = completed(owned)
    token, one = share(owned, task, expires_in=60)
    assert shared(owned, token) == (200, "")
    ended = datetime.now(UTC) - timedelta(seconds=1)
    value = ended if owned.live.database_url.startswith("postgresql") else ended.strftime("%Y-%m-%d %H:%M:%S.%f")
    owned.live.execute("UPDATE shares SET expires_at = :at WHERE id = :id", at=value, id=one)
    until(lambda: shared(owned, token) == (410, "share_expired"), what="the process has forgotten the row")
    assert result(owned, token, "hls/720p/segment-00001.m4s").status == 410
    (listed,) = owned.get(f"/api/task/{task}/shares")["shares"]
    assert listed["state"] == "expired"


def test_a_link_ends_with_its_video(owned: Owned) -> None:
    """A deleted video is gone for its links, too, and cannot be shared again."""
    task = completed(owned)
    token, _ = share(owned, task)
    assert owned.json("DELETE", f"/api/task/{task}")[0] == 200
    until(lambda: shared(owned, token) == (410, "share_video_gone"), what="the process has forgotten the row")
    assert result(owned, token, "video.mp4").status in (404, 410)
    assert owned.refused("POST", f"/api/task/{task}/shares", "ann", {}) == (410, "task_gone")


def test_what_is_refused(owned: Owned) -> None:
    """Foreign and unknown tasks, missing scopes, wrong fields, links that are none, other shares of other tasks."""
    task, foreign = completed(owned), completed(owned, who="bob")
    path = f"/api/task/{task}/shares"
    _, theirs = share(owned, foreign, "bob")
    assert owned.refused("POST", path, "bob", {}) == (404, "task_not_found")
    assert owned.refused("GET", path, "bob") == (404, "task_not_found")
    assert owned.refused("DELETE", f"{path}/{theirs}", "bob") == (404, "task_not_found")
    assert owned.refused("DELETE", f"{path}/{theirs}") == (404, "share_not_found")
    assert owned.refused("POST", f"/api/task/{UNKNOWN}/shares", "ann", {}) == (404, "task_not_found")
    assert owned.refused("POST", "/api/task/no-id/shares", "ann", {}) == (404, "task_not_found")
    assert owned.refused("POST", path, "ann:read", {}) == (403, "scope_missing")
    assert owned.refused("POST", path, "", {}) == (401, "authentication_required")
    assert owned.refused("PUT", path, "ann", {}) == (405, "method_not_allowed")
    for value in (59, 10 * 365 * 86400 + 1, "60", True, 60.5, [60]):
        assert owned.refused("POST", path, "ann", {"expires_in": value}) == (400, "field_invalid"), value
    assert owned.refused("POST", path, "ann", {"expires": 60}) == (400, "field_invalid")
    for token in ("x", "A" * 24, "A" * 25, "%00" * 8, "~" * 24):
        assert shared(owned, token) == (404, "share_not_found"), token
    assert owned.json("POST", path, "root:admin", {})[0] == 201


def test_a_video_that_is_not_ready_says_so(owned: Owned) -> None:
    """A link may be made before the video can be played; a failed file is not shown."""
    task = owned.task()
    token, _ = share(owned, task)
    content = json.loads(owned.live.ask("GET", f"/api/shared/{token}").body)
    assert (content["playable"], content["files"][0]["mp4_url"]) == (False, None)
    failed = completed(owned)
    token, _ = share(owned, failed)
    owned.live.execute("UPDATE task_files SET status = 'error' WHERE task_id = :id", id=failed)
    content = json.loads(owned.live.ask("GET", f"/api/shared/{token}").body)
    assert (content["playable"], content["files"]) == (False, [])
    assert result(owned, token, "video.mp4").status == 404


def test_the_number_of_links_is_bounded(owned: Owned) -> None:
    """One more than a hundred that are valid is refused; ended ones make room."""
    task = completed(owned)
    _, one = share(owned, task)
    for _ in range(MOST - 1):
        share(owned, task)
    path = f"/api/task/{task}/shares"
    assert owned.refused("POST", path, "ann", {}) == (409, "too_many_shares")
    assert owned.json("DELETE", f"{path}/{one}")[0] == 200
    share(owned, task)
    assert len(owned.get(path)["shares"]) == MOST
    assert owned.refused("DELETE", f"{path}/{one}") == (404, "share_not_found")


def test_oembed_describes_a_link(owned: Owned) -> None:
    """A frame of the video's size, within what is asked for; other addresses are 404, texts are escaped."""
    task = completed(owned)
    token, _ = share(owned, task)
    assert owned.json("PATCH", f"/api/task/{task}", "ann", {"title": '"><script>'})[0] == 200
    link = f"{BASE}/s/{token}"
    found = json.loads(owned.live.ask("GET", f"/api/oembed?url={link}&maxwidth=320").body)
    assert (found["version"], found["type"], found["width"], found["height"]) == ("1.0", "video", 320, 240)
    assert f'src="{BASE}/embed/{token}"' in found["html"]
    assert "<script>" not in found["html"]
    assert found["thumbnail_url"] == f"{BASE}/media/s/{token}/1/poster.jpg"
    for url in ("", "https://evil.example/s/" + token, link + "/x", link[:-1], f"{BASE}/v/{task}"):
        assert owned.live.ask("GET", f"/api/oembed?url={url}").status == 404, url
    assert owned.live.ask("GET", f"/api/oembed?url={link}&format=xml").status == 400
