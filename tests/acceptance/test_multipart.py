"""The documented upload form: sent by curl and as the document's Swift sample sends it."""

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.arrival import UUID4, check_events, check_processed, check_stored
from tests.harness.multipart import curl, swift
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish, follow, poster
from tests.samples import make

pytestmark = pytest.mark.acceptance

FORMATS = ["mp4", "mov", "avi", "mkv", "wmv", "flv", "3gp"]
TEXT = b"This is a text, whatever its name says.\n" * 200
# A right beginning of an MP4, and then nothing that a player could use.
GARBAGE = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + b"\xde\xad\xbe\xef" * 5000


@pytest.mark.sampled(2)
@pytest.mark.parametrize("count", [1, 2])
def test_curl_uploads_one_or_two_videos(
    start_server: StartServer, database_url: str, tmp_path: Path, count: int
) -> None:
    """One video or two by curl: the documented answer, the bytes on disk, and every video processed."""
    server = start_server(database_url=database_url)
    videos = [make(tmp_path, f"clip-{number}.mp4") for number in range(count)]
    status, answer = curl(server.url, videos)
    assert status == 200
    task = answer["task_id"]
    assert UUID4.fullmatch(task)
    assert answer.get("invalid_details") is None
    assert {key: value for key, value in answer.items() if key != "invalid_details"} == {
        "success": True,
        "message": "视频上传成功",
        "task_id": task,
        "uploaded_files": count,
        "invalid_files": None,
    }
    ended = finish(server, task)
    check_stored(server, task, videos)
    for file in ended["files"]:
        check_processed(server, file)
    check_events(server, task)


def test_all_seven_formats_are_processed_from_one_form(server: ServerProcess, tmp_path: Path) -> None:
    """A real file of every documented format is taken, probed and gets a poster."""
    videos = [make(tmp_path, f"clip.{ending}") for ending in FORMATS]
    status, answer = curl(server.url, videos)
    assert (status, answer["uploaded_files"], answer["invalid_files"]) == (200, 7, None), answer
    ended = finish(server, answer["task_id"], seconds=120)
    check_stored(server, answer["task_id"], videos)
    assert "partial" not in ended or ended["partial"] is False
    for file, video in zip(ended["files"], videos, strict=True):
        assert (file["name"], file["size"]) == (video.name, video.stat().st_size)
        assert file["duration"] == pytest.approx(2, abs=0.5), file
        assert file["audio_codec"], file
        assert isinstance(file["duration"], float)
        check_processed(server, file)


def test_the_body_of_the_documented_swift_sample_is_understood(server: ServerProcess, tmp_path: Path) -> None:
    """A body built byte by byte as the Swift sample does it is understood, whatever type its parts claim."""
    videos = [make(tmp_path, "IMG_0001.mov"), make(tmp_path, "假期.mp4")]
    status, answer = swift(server.port, [(video.name, video.read_bytes()) for video in videos])
    assert (status, answer["uploaded_files"]) == (200, 2), answer
    finish(server, answer["task_id"])
    check_stored(server, answer["task_id"], videos)


def test_a_text_renamed_to_mp4_is_refused_and_the_other_completes(server: ServerProcess, tmp_path: Path) -> None:
    """Of two files the one that is no video is refused by name; the other goes its way."""
    video = make(tmp_path, "real.mp4")
    status, answer = swift(server.port, [("fake.mp4", TEXT), (video.name, video.read_bytes())])
    assert (status, answer["success"], answer["uploaded_files"]) == (200, True, 1), answer
    assert answer["invalid_files"] == ["fake.mp4"]
    (detail,) = answer["invalid_details"]
    assert detail.keys() == {"name", "code", "message"}
    assert (detail["name"], detail["code"]) == ("fake.mp4", "media_type_mismatch")
    ended = finish(server, answer["task_id"])
    check_stored(server, answer["task_id"], [video])
    check_processed(server, ended["files"][0])
    assert [path.stat().st_size for path in server.stored_files()] == [video.stat().st_size]


def test_a_file_that_only_begins_as_a_video_fails_alone(server: ServerProcess, tmp_path: Path) -> None:
    """A broken video ends in error with a sentence; the other one completes, and the task says partial."""
    video = make(tmp_path, "good.mp4")
    _, answer = swift(server.port, [("broken.mp4", GARBAGE), (video.name, video.read_bytes())])
    assert answer["uploaded_files"] == 2, answer
    ended = follow(server, answer["task_id"])[-1]
    assert (ended["status"], ended["partial"], ended["progress"]) == ("completed", True, 100), ended
    broken, good = ended["files"]
    assert broken["status"] == "error"
    assert broken["error"] == {"code": "not_playable", "message": "文件不是可播放的视频"}
    assert broken["poster_url"] is None
    check_processed(server, good)


def test_a_task_whose_files_all_fail_is_an_error(server: ServerProcess) -> None:
    """Nothing playable: status error with a reason, still answered with 200 and success."""
    status, answer = swift(server.port, [("broken.mp4", GARBAGE)])
    assert status == 200, answer
    ended = follow(server, answer["task_id"])[-1]
    assert ended["status"] == "error"
    assert ended["message"].startswith("处理出错"), ended["message"]
    assert "不是可播放的视频" in ended["message"]
    english = server.http.get(
        f"{server.url}/api/task/status/{answer['task_id']}", headers={"Accept-Language": "en"}
    ).json()
    assert english["message"].startswith("Processing failed"), english["message"]
    assert english["files"][0]["error"]["message"] == "The file is not a playable video"


def test_a_phones_upright_video_stays_upright(server: ServerProcess, tmp_path: Path) -> None:
    """Width, height and poster are those after rotation."""
    _, answer = curl(server.url, [make(tmp_path, "upright.mp4", size="320x240", rotate=90)])
    (file,) = finish(server, answer["task_id"])["files"]
    assert (file["width"], file["height"]) == (240, 320)
    assert poster(server, file) == (240, 320)


def test_a_video_without_audio_has_a_null_codec(server: ServerProcess, tmp_path: Path) -> None:
    """What is not known is null: a screen recording has no audio codec."""
    _, answer = curl(server.url, [make(tmp_path, "silent.mkv", audio=False)])
    (file,) = finish(server, answer["task_id"])["files"]
    assert file["audio_codec"] is None
    check_processed(server, file)


def test_files_of_the_same_name_are_both_kept(server: ServerProcess, tmp_path: Path) -> None:
    """Two phones call their videos alike; neither replaces the other."""
    first, second = make(tmp_path, "a.mp4"), make(tmp_path, "b.mp4", size="160x120")
    _, answer = swift(server.port, [("clip.mp4", first.read_bytes()), ("clip.mp4", second.read_bytes())])
    files = finish(server, answer["task_id"])["files"]
    assert [(file["name"], file["width"]) for file in files] == [("clip.mp4", 320), ("clip.mp4", 160)]
