"""The plain form of the page: a person without JavaScript gets a page, every other client the documented answer."""

import json
import uuid
from collections.abc import Iterator

import pytest

from tests.harness.http import Answer, LiveServer

PATH = "/api/upload/videos"
MP4 = (32).to_bytes(4, "big") + b"ftypisom" + b"\0\0\2\0isomiso2avc1mp41" + bytes(100)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(tmp_path_factory.mktemp("live"), root_path="/video", brand_name="Acme") as made:
        yield made


def post(live: LiveServer, path: str, files: list[tuple[str, bytes]], **headers: str) -> Answer:
    mark = uuid.uuid4().hex
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="videos"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    body = b"".join(parts) + f"--{mark}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    return live.ask("POST", path, {**kind, **{name.replace("_", "-"): value for name, value in headers.items()}}, body)


@pytest.mark.parametrize(
    ("language", "words"),
    [("en-GB", ("1 video uploaded", "Not accepted:")), ("zh-CN", ("已上传 1 个视频", "未接受的文件："))],
)
def test_a_person_gets_a_page(live: LiveServer, language: str, words: tuple[str, ...]) -> None:
    """What was received and what was not, in the reader's language, with links below the prefix; names are escaped."""
    files = [("a.mp4", MP4), ("<b>.txt", b"text")]
    answer = post(live, f"{PATH}?answer=page", files, Accept=BROWSER, Accept_Language=language)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    for expected in (*words, '<base href="/video/">', 'href="v/', 'href="api/task/status/', "&lt;b&gt;.txt", "Acme"):
        assert expected in answer.text
    assert "<script" not in answer.text
    assert "<b>" not in answer.text


@pytest.mark.parametrize(("files", "status"), [([], 400), ([("a.txt", b"text")], 400)])
def test_a_refusal_is_a_page_too(live: LiveServer, files: list[tuple[str, bytes]], status: int) -> None:
    """It keeps its status, says why and leads back to the form."""
    answer = post(live, f"{PATH}?answer=page", files, Accept=BROWSER, Accept_Language="en")
    assert (answer.status, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert "Nothing was uploaded" in answer.text
    assert "invalid_details" not in answer.text
    assert '<a href="./">Back to the form</a>' in answer.text


@pytest.mark.parametrize(
    ("query", "accept"),
    [
        ("", BROWSER),
        ("?answer=page", "*/*"),
        ("?answer=page", "application/json"),
        ("", "*/*"),
        ("?answer=%1A%C3%A8&x=%FF", BROWSER),
    ],
)
def test_other_clients_get_the_documented_answer(live: LiveServer, query: str, accept: str) -> None:
    """Without the marker, or without HTML among what it accepts, the bytes are those of a client that says nothing."""
    files = [("a.txt", b"text")]
    plain, asked = post(live, PATH, files), post(live, PATH + query, files, Accept=accept)
    assert (asked.status, asked.body) == (plain.status, plain.body)
    assert asked.headers["content-type"] == "application/json"
    assert json.loads(asked.body)["message"] == json.loads(plain.body)["message"]
    differing = {"date", "x-request-id", "connection"}
    assert {k: v for k, v in asked.headers.items() if k not in differing} == {
        k: v for k, v in plain.headers.items() if k not in differing
    }
