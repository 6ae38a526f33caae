"""Posters over real sockets: their bytes, whole and in ranges, and nothing for who asks for what is not there."""

from collections.abc import Iterator

import pytest

from tests.harness.http import LiveServer, request
from tests.tus.client import filled
from tests.web.test_downloads import UNKNOWN, WAYS, clean_log

POSTER = b"\xff\xd8" + bytes(range(256)) * 300 + b"\xff\xd9"


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with clean_log(caplog):
        yield


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    http, loop = request.param
    with LiveServer(tmp_path_factory.mktemp("live"), loop=loop, http=http) as made:
        yield made


@pytest.fixture
def poster(live: LiveServer) -> str:
    """The path of a poster."""
    upload, _ = filled(live, 1000, 1000)
    (file,) = live.query("SELECT id FROM task_files WHERE task_id = :id", id=upload)
    live.execute("UPDATE task_files SET has_poster = true WHERE id = :id", id=file["id"])
    folder = live.data_dir / "results" / upload / file["id"]
    folder.mkdir(parents=True)
    (folder / "poster.jpg").write_bytes(POSTER)
    return f"/media/{upload}/{file['id']}/poster.jpg"


def test_a_poster_is_served_by_get_and_head(live: LiveServer, poster: str) -> None:
    """Every byte by GET and none by HEAD, on one connection."""
    with live.connect() as connection:
        connection.send(request("HEAD", poster, {"Range": "bytes=0-9"}) + request("GET", poster))
        looked, answer = connection.answer(head=True), connection.answer()
        assert (looked.status, answer.status, answer.body) == (200, 200, POSTER)
        for headers in (looked.headers, answer.headers):
            assert headers["content-length"] == str(len(POSTER))
            assert (headers["content-type"], headers["x-content-type-options"]) == ("image/jpeg", "nosniff")
            assert headers["cache-control"] == "private, max-age=3600"
            assert headers["etag"] == answer.headers["etag"]
        assert connection.ask("GET", poster).body == POSTER


def test_a_range_of_a_poster_is_served(live: LiveServer, poster: str) -> None:
    """A range is sent while the poster is the one that it was begun with; one outside is refused."""
    tag = live.ask("GET", poster).headers["etag"]
    part = live.ask("GET", poster, {"Range": "bytes=10-19", "If-Range": tag})
    assert (part.status, part.body) == (206, POSTER[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(POSTER)}"
    assert live.ask("GET", poster, {"Range": "bytes=10-19", "If-Range": '"other"'}).body == POSTER
    assert live.ask("GET", poster, {"Range": "nonsense"}).body == POSTER
    outside = live.ask("GET", poster, {"Range": f"bytes={len(POSTER)}-"})
    assert (outside.status, outside.headers["content-range"]) == (416, f"bytes */{len(POSTER)}")
    assert b"range_unsatisfiable" in outside.body


def test_an_unknown_poster_is_404(live: LiveServer, poster: str) -> None:
    """404 for unknown tasks, files and names and for a poster that is lost; 405 for what is no reading."""
    _, _, task, file, _ = poster.split("/")
    for path in (f"/media/{UNKNOWN}/{file}/poster.jpg", f"/media/{task}/{UNKNOWN}/poster.jpg", f"/media/{task}/x/y"):
        assert live.ask("GET", path).status == 404
    assert live.ask("GET", poster.replace("poster.jpg", "other.jpg")).status == 404
    assert live.ask("DELETE", poster).status == 405
    (live.data_dir / "results" / task / file / "poster.jpg").unlink()
    assert live.ask("GET", poster).status == 404
