"""`passthrough` from each way of an upload to its row, its task and its status, with both engines."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.harness.http import serving
from tests.tus.client import MOUNT, VERSION, metadata, patch_headers, video
from tests.web.owned import Owned

Part = tuple[str, str | None, bytes]
VIDEO: Part = ("videos", "a.mp4", video(500))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def owned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owned]:
    engine = {"sqlite": "tuspyserver", "postgresql": "videodock"}[request.param]
    with serving(request, tmp_path_factory.mktemp("pass"), auth="on", tus_engine=engine) as live:
        yield Owned(live)


def told(owned: Owned, task: str) -> tuple[object, set[object]]:
    """What the status and the rows of the uploads have."""
    rows = owned.live.query("SELECT passthrough FROM uploads WHERE task_id = :id", id=task)
    return owned.get(f"/api/task/status/{task}")["passthrough"], {row["passthrough"] for row in rows}


def create(owned: Owned, **pairs: str) -> tuple[int, str]:
    """Status and text of a creation by tus."""
    answer = owned.ask("POST", MOUNT, "ann", VERSION | {"Upload-Length": "1000", "Upload-Metadata": metadata(**pairs)})
    return answer.status, answer.text


def test_of_tus(owned: Owned) -> None:
    """It is in the list of uploads at once; too long or no text is refused, and leaves nothing."""
    text = "order 4711: 假期, a=b\n" + "é" * 20
    upload = owned.open(passthrough=text).partition("~")[0]
    (found,) = [one for one in owned.get("/api/uploads")["uploads"] if one["id"] == upload]
    assert found["passthrough"] == text
    assert told(owned, owned.task(passthrough=text)) == (text, {text})
    before = owned.live.query("SELECT count(*) AS n FROM uploads")
    for value in ("x" * 1025, "a\0"):
        status, answer = create(owned, filename="a.mp4", passthrough=value)
        assert (status, answer.partition(":")[0]) == (400, "metadata_invalid")
    raw = VERSION | {"Upload-Length": "10", "Upload-Metadata": "passthrough /w=="}
    assert owned.ask("POST", MOUNT, "ann", raw).status == 400
    assert owned.live.query("SELECT count(*) AS n FROM uploads") == before


def test_of_a_form(owned: Owned) -> None:
    """Before or after the files; the task has it, and each of its uploads. A form that is refused leaves nothing."""
    field: Part = ("passthrough", None, "订单\r\n7".encode())
    parts: tuple[Part, ...]
    for parts in ((field, VIDEO, VIDEO), (VIDEO, VIDEO, field), (VIDEO, field, VIDEO)):
        status, answer = owned.form(*parts)
        assert status == 200, answer
        assert told(owned, answer["task_id"]) == ("订单\r\n7", {"订单\r\n7"})
    for parts in ((("passthrough", None, b""), VIDEO), (("passthrough", "p.txt", b"a file"), VIDEO), (VIDEO,)):
        status, answer = owned.form(*parts)
        assert told(owned, answer["task_id"]) == (None, {None})
    before = owned.live.query("SELECT count(*) AS n FROM uploads"), owned.live.files()
    for value in (b"x" * 1025, b"a\0", b"\xff", b"x" * 3_000_000):
        for parts in ((("passthrough", None, value), VIDEO), (VIDEO, ("passthrough", None, value))):
            status, answer = owned.form(*parts)
            assert (status, answer["code"], "passthrough" in answer["message"]) == (400, "field_invalid", True)
    status, answer = owned.form(field, field, VIDEO)
    assert (status, answer["code"]) == (400, "field_invalid")
    assert (owned.live.query("SELECT count(*) AS n FROM uploads"), owned.live.files()) == before


def test_of_a_grant(owned: Owned) -> None:
    """By each of its URLs; what its client sends under that key does not count."""
    form_grant = owned.json("POST", "/api/grants", "ann", {"passthrough": "ours"})[1]
    path = "/" + form_grant["form_url"].partition("//")[2].partition("/")[2]
    status, answer = owned.form(("passthrough", None, b"mine"), VIDEO, ("passthroug", None, b""), who="", path=path)
    assert status == 200, answer
    assert told(owned, answer["task_id"]) == ("ours", {"ours"})
    for way in ("upload_url", "tus_endpoint"):
        terms: dict[str, Any] = {"passthrough": "ours", "size": 1000, "filename": "a.mp4"}
        grant = owned.json("POST", "/api/grants", "ann", terms)[1]
        path = "/" + grant[way].partition("//")[2].partition("/")[2]
        if way == "tus_endpoint":
            headers = VERSION | {"Upload-Length": "1000", "Upload-Metadata": metadata(passthrough="mine")}
            path = f"{MOUNT}/" + owned.ask("POST", path, "", headers).headers["location"].rpartition("/")[2]
        assert owned.ask("PATCH", path, "", patch_headers(0), video(1000)).status == 204
        assert told(owned, path.rpartition("/")[2].partition("~")[0]) == ("ours", {"ours"})
    for terms in ({"passthrough": "é" * 513}, {"passthrough": "a\0"}, {"metadata": {"passthrough": "a"}}):
        assert owned.refused("POST", "/api/grants", "ann", terms) == (400, "field_invalid")


def test_of_a_group(owned: Owned) -> None:
    """Of several uploads, the first that has one gives it to the task."""
    task = str(uuid4())
    group: dict[str, Any] = {"task": task, "task_files": "3"}
    for position, text in enumerate(("", "first", "second"), 1):
        more: dict[str, Any] = {"passthrough": text} if text else {}
        owned.open(have=1000, task_file=str(position), **group, **more)
    assert told(owned, task) == ("first", {None, "first", "second"})


def test_of_joined_parts(owned: Owned) -> None:
    """That of the final upload counts."""
    parts = []
    for number in range(2):
        headers = VERSION | {"Upload-Length": "500", "Upload-Concat": "partial"}
        answer = owned.ask("POST", MOUNT, "ann", headers | {"Upload-Metadata": metadata(passthrough=f"part {number}")})
        parts.append(answer.headers["location"].removeprefix("http://videodock.test"))
        data = video(1000)[500 * number : 500 * (number + 1)]
        assert owned.ask("PATCH", parts[-1], "", patch_headers(0), data).status == 204
    headers = VERSION | {"Upload-Concat": f"final;{' '.join(parts)}", "Upload-Metadata": metadata(passthrough="whole")}
    answer = owned.ask("POST", MOUNT, "ann", headers)
    task = answer.headers["location"].rpartition("/")[2].partition("~")[0]
    assert told(owned, task)[0] == "whole"


def test_a_form_that_is_sent_again_keeps_its_first(owned: Owned, tmp_path: Path) -> None:
    """With an Idempotency-Key, fields beside the files do not make another form."""
    headers = {"Content-Type": "multipart/form-data; boundary=B", "Idempotency-Key": f"k-{tmp_path.name}"}
    tasks = set()
    for text in ("one", "two"):
        body = (
            f'--B\r\nContent-Disposition: form-data; name="passthrough"\r\n\r\n{text}\r\n'
            '--B\r\nContent-Disposition: form-data; name="videos"; filename="a.mp4"\r\n\r\n'
        ).encode() + video(500)
        answer = owned.ask("POST", "/api/upload/videos", "ann", headers, body + b"\r\n--B--\r\n")
        assert answer.status == 200, answer
        tasks.add(json.loads(answer.body)["task_id"])
    (task,) = tasks
    assert told(owned, task) == ("one", {"one"})
