"""Every documented refusal, field by field, in both languages."""

import re
import uuid
from dataclasses import dataclass, field

import pytest

from tests.conftest import StartServer
from tests.harness.multipart import form_body, send, swift
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import check_status_shape

pytestmark = pytest.mark.acceptance

LIMIT = 100_000
HEAD = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
TEXT = b"no video\n" * 100
Parts = list[tuple[str, str | None, bytes]]


@dataclass(frozen=True)
class Refusal:
    name: str
    parts: Parts
    status: int
    code: str
    invalid: dict[str, str] = field(default_factory=dict)


REFUSALS = [
    Refusal("an empty form", [], 400, "no_file"),
    Refusal("only a text field", [("title", None, b"holiday")], 400, "no_file"),
    Refusal("no file chosen", [("videos", "", b"")], 400, "no_file"),
    Refusal("a text", [("videos", "a.mp4", TEXT)], 400, "no_valid_file", {"a.mp4": "media_type_mismatch"}),
    Refusal("a foreign name", [("videos", "a.txt", TEXT)], 400, "no_valid_file", {"a.txt": "media_type_unsupported"}),
    Refusal(
        "a video under a foreign name",
        [("videos", "a.exe", HEAD + bytes(1000))],
        400,
        "no_valid_file",
        {"a.exe": "media_type_unsupported"},
    ),
    Refusal("an empty file", [("videos", "a.mp4", b"")], 400, "no_valid_file", {"a.mp4": "file_empty"}),
    Refusal(
        "a large file",
        [("videos", "big.mp4", HEAD + bytes(LIMIT))],
        413,
        "no_valid_file",
        {"big.mp4": "file_too_large"},
    ),
    Refusal(
        "a large file and a text",
        [("videos", "a.mp4", TEXT), ("videos", "big.mp4", HEAD + bytes(3 * LIMIT))],
        413,
        "no_valid_file",
        {"a.mp4": "media_type_mismatch", "big.mp4": "file_too_large"},
    ),
]


def chinese(sentence: str) -> bool:
    return re.search(r"[\u4e00-\u9fff]", sentence) is not None


def test_each_refused_form_has_its_documented_error(start_server: StartServer) -> None:
    """Each refusal has its status, its code, the names and reasons of the files, and leaves nothing behind."""
    server = start_server(max_file_size=LIMIT)
    for case in REFUSALS:
        for language in ("", "en-GB,en;q=0.9"):
            headers = {"Accept-Language": language} if language else {}
            boundary = str(uuid.uuid4()).upper()
            status, answer = send(server.port, boundary, [form_body(boundary, case.parts)], headers)
            assert status == case.status, (case.name, answer)
            assert answer["success"] is False
            assert answer["code"] == case.code, (case.name, answer)
            assert answer["invalid_files"] == (list(case.invalid) or None), (case.name, answer)
            details = answer.get("invalid_details") or []
            assert {item["name"]: item["code"] for item in details} == case.invalid, (case.name, answer)
            for sentence in [answer["message"], *(item["message"] for item in details)]:
                assert sentence
                assert chinese(sentence) == (not language), (case.name, sentence)
    assert query(server.database_url, "SELECT id FROM tasks") == []
    assert server.stored_files() == []


def test_a_file_of_exactly_the_limit_is_taken(start_server: StartServer) -> None:
    """The limit counts the file's bytes, not the form's, and is itself allowed."""
    server = start_server(max_file_size=LIMIT, scheduler="none")
    for size, status in ((LIMIT, 200), (LIMIT + 1, 413)):
        answer = swift(server.port, [("edge.mp4", HEAD + bytes(size - len(HEAD)))])
        assert answer[0] == status, (size, answer)


def test_an_oversize_file_does_not_stop_the_others(start_server: StartServer) -> None:
    """A file over the limit is drained and named; a good one after it is taken."""
    server = start_server(max_file_size=LIMIT, scheduler="none")
    status, answer = swift(server.port, [("big.mp4", HEAD + bytes(3 * LIMIT)), ("good.mp4", HEAD + bytes(1000))])
    assert (status, answer["uploaded_files"], answer["invalid_files"]) == (200, 1, ["big.mp4"]), answer
    assert [path.stat().st_size for path in server.stored_files()] == [len(HEAD) + 1000]


def test_a_body_that_is_not_a_form_is_400(server: ServerProcess) -> None:
    """What is no multipart form is 400 with the documented fields."""
    for kind, body in (("application/json", b"{}"), ("multipart/form-data", b"x"), ("text/plain", b"")):
        response = server.http.post(f"{server.url}/api/upload/videos", content=body, headers={"Content-Type": kind})
        answer = response.json()
        assert response.status_code == 400, (kind, answer)
        assert (answer["success"], answer["invalid_files"]) == (False, None)
        assert answer["code"] in {"multipart_invalid", "no_file"}
        assert answer["message"]


def test_an_unknown_task_is_404(server: ServerProcess) -> None:
    """An unknown and a malformed id are the same 404, for the status and for cancelling."""
    unknown = [str(uuid.uuid4()), "123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-42D3-A456-426614174000"]
    for task in (*unknown, "1", "abc", "%00", "..%5c..%5cpasswd", "x" * 2000, "任务"):
        for language, sentence in (("", "任务不存在"), ("zh-CN", "任务不存在"), ("en", "There is no such task")):
            headers = {"Accept-Language": language}
            for response in (
                server.http.get(f"{server.url}/api/task/status/{task}", headers=headers),
                server.http.post(f"{server.url}/api/task/cancel/{task}", headers=headers),
            ):
                assert response.status_code == 404, (task, response.text)
                assert response.json() == {
                    "success": False,
                    "message": sentence,
                    "code": "task_not_found",
                    "invalid_files": None,
                }, task


def test_the_status_of_a_waiting_task_is_as_documented(start_server: StartServer) -> None:
    """The documented status of a task that waits, every field of it."""
    server = start_server(scheduler="none")
    _, answer = swift(server.port, [("假期.mp4", HEAD + bytes(5000))])
    for language, message in (("", "文件上传完成，准备处理"), ("en", "Upload complete, waiting to be processed")):
        url = f"{server.url}/api/task/status/{answer['task_id']}"
        status = server.http.get(url, headers={"Accept-Language": language}).json()
        check_status_shape(status, answer["task_id"])
        assert (status["status"], status["message"], status["progress"]) == ("uploaded", message, 0)
        (file,) = status["files"]
        assert (file["name"], file["size"], file["status"]) == ("假期.mp4", len(HEAD) + 5000, "waiting")
        unknown = ("duration", "width", "height", "frame_rate", "video_codec", "audio_codec", "poster_url", "error")
        assert [file[key] for key in unknown] == [None] * len(unknown)
