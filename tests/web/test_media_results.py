"""Every kind of result over real sockets: shown when its row says so, in its type, to pages of other origins too."""

import json
from collections.abc import Iterator, Mapping

import pytest

from server.bootstrap import Services
from server.messages import templates
from server.storage.result_store import ResultStore
from server.storage.results import Results
from tests.harness.http import Answer, LiveServer, Loop
from tests.harness.object_store import in_bucket, object_store  # noqa: F401  # the second is a fixture
from tests.tus.client import filled
from tests.web.test_downloads import WAYS, clean_log

PAGE = "https://player.example"
STRANGER = "https://stranger.example"

# What the steps put into place, and the column that shows it.
FILES = {
    "poster.jpg": ("has_poster", "image/jpeg"),
    "video.mp4": ("has_mp4", "video/mp4"),
    "hls/index.m3u8": ("has_hls", "application/vnd.apple.mpegurl"),
    "hls/720p/index.m3u8": ("has_hls", "application/vnd.apple.mpegurl"),
    "hls/720p/init.mp4": ("has_hls", "video/mp4"),
    "hls/720p/segment-00001.m4s": ("has_hls", "video/iso.segment"),
    "hls/audio/segment-00001.m4s": ("has_hls", "video/iso.segment"),
    "storyboard.vtt": ("has_storyboard", "text/vtt; charset=utf-8"),
    "storyboard.jpg": ("has_storyboard", "image/jpeg"),
}
STORES: dict[int, ResultStore] = {}
"""Of the servers that run, by their ports."""

COLUMNS = sorted({column for column, _ in FILES.values()})


def content(name: str) -> bytes:
    """Bytes that tell which file they are of."""
    return name.encode() + bytes(range(256)) * 8


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with clean_log(caplog):
        yield


STEP = (
    "INSERT INTO task_steps (file_id, name, position, status, progress, failures) VALUES (:id, 'scan', 1, '{}', 0, 0)"
)


BUCKET: tuple[str, Loop, str] = ("videodock", "asyncio", "bucket")


@pytest.fixture(scope="module", params=[*WAYS, BUCKET], ids="-".join)
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with its results on the disk, and one with theirs in a bucket."""
    http, loop = request.param[:2]
    with pytest.MonkeyPatch.context() as patched:
        place = in_bucket(request.getfixturevalue("object_store"), patched) if request.param == BUCKET else {}
        with LiveServer(tmp_path_factory.mktemp("live"), loop=loop, http=http, cors_origins=PAGE, **place) as made:
            yield made


@pytest.fixture(scope="module", autouse=True)
def _publisher(live: LiveServer) -> Iterator[None]:
    """Another process of this server, which publishes results."""
    with Services.open(live.settings) as services:
        STORES[live.port] = services.results
        yield


@pytest.fixture(scope="module")
def place(live: LiveServer) -> str:
    """The folder of a file of which everything was made, as a path of URLs."""
    return put(live, *FILES)


def put(live: LiveServer, *names: str, columns: Mapping[str, bool] | None = None) -> str:
    """A file with these results, published as a step's are; columns are true unless `columns` says otherwise."""
    task, _ = filled(live, 1000, 1000)
    (row,) = live.query("SELECT id FROM task_files WHERE task_id = :id", id=task)
    results = STORES.get(live.port) or Results(live.data_dir, syncs=False)
    folder = results.begin(task, 1, row["id"], "all")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content(name))
    results.seal(task, 1, row["id"], "all")
    results.publish(task, 1, row["id"], "all")
    for column in COLUMNS:
        value = (columns or {}).get(column, True)
        live.execute(f"UPDATE task_files SET {column} = :value WHERE id = :id", value=value, id=row["id"])
    return f"/media/{task}/{row['id']}/"


def test_remarks_are_in_the_language_of_the_reader(live: LiveServer) -> None:
    """A file without remarks says so by an empty list; each remark is a code and its sentence."""
    task, file = put(live, "poster.jpg").split("/")[2:4]
    state = json.loads(live.ask("GET", f"/api/task/status/{task}").body)
    assert state["files"][0]["remarks"] == []
    live.execute("UPDATE task_files SET remarks = '[\"truncated\"]' WHERE id = :id", id=file)
    for language, place in (("zh", 0), ("en", 1)):
        state = json.loads(live.ask("GET", f"/api/task/status/{task}", {"Accept-Language": language}).body)
        sentence = templates("truncated")[place]
        assert state["files"][0]["remarks"] == [{"code": "truncated", "message": sentence}]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("UPDATE task_files SET status = 'error' WHERE id = :id", 404),
        ("UPDATE task_files SET status = 'cancelled' WHERE id = :id", 404),
        ("UPDATE task_files SET scan = 'infected' WHERE id = :id", 404),
        ("UPDATE task_files SET scan = 'clean' WHERE id = :id", 200),
        (STEP.format("waiting"), 404),
        (STEP.format("processing"), 404),
        (STEP.format("completed"), 200),
        (STEP.format("skipped"), 200),
    ],
)
def test_results_of_unscanned_infected_or_failed_files_are_hidden(live: LiveServer, change: str, status: int) -> None:
    """Nothing that was made is shown while a scan is due (a scanner may be set between two attempts), of an infected
    file, or once the file has failed or was cancelled; and the status does not promise it."""
    place = put(live, "poster.jpg", "video.mp4")
    live.execute("UPDATE tasks SET playable = true WHERE id = :id", id=place.split("/")[2])
    live.execute("UPDATE task_files SET playable = true WHERE id = :id", id=place.split("/")[3])
    live.execute(change, id=place.split("/")[3])
    assert [live.ask("GET", place + name).status for name in ("poster.jpg", "video.mp4")] == [status] * 2
    state = json.loads(live.ask("GET", f"/api/task/status/{place.split('/')[2]}").body)
    assert {state["playable"], state["files"][0]["playable"]} == {status == 200}
    assert all((state["files"][0][key] is not None) == (status == 200) for key in ("mp4_url", "poster_url"))


def check_refused(answer: Answer, status: int) -> None:
    """A refusal of ours, from which nothing can be learnt."""
    assert answer.status == status
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    assert not {"etag", "last-modified", "content-disposition"} & set(answer.headers)


@pytest.mark.parametrize("name", FILES)
def test_each_result_has_its_media_type(live: LiveServer, place: str, name: str) -> None:
    """Every result comes whole, in the type that players ask for, and HEAD says the same without a body."""
    answer, looked = live.ask("GET", place + name), live.ask("HEAD", place + name)
    assert (answer.status, answer.body) == (200, content(name))
    assert (looked.status, looked.body) == (200, b"")
    for headers in (answer.headers, looked.headers):
        assert headers["content-type"] == FILES[name][1]
        assert headers["content-length"] == str(len(content(name)))
        assert headers["accept-ranges"] == "bytes"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "private, max-age=3600"
    assert answer.headers["etag"] == looked.headers["etag"]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_result_is_served_when_its_column_says_so(live: LiveServer, column: str) -> None:
    """What lies in place is shown when its own column says so, and hidden while only the others do."""
    hidden = put(live, *FILES, columns={column: False})
    shown = put(live, *FILES, columns={other: other == column for other in COLUMNS})
    for name, (its_column, _) in FILES.items():
        expected = (404, 200) if its_column == column else (200, 404)
        assert (live.ask("GET", hidden + name).status, live.ask("GET", shown + name).status) == expected, name


def test_the_status_has_the_urls_of_the_results(live: LiveServer, place: str) -> None:
    """The addresses in the status are those of the results; what is not there is null."""
    _, _, task, file, _ = place.split("/")
    base = f"{live.url}/media/{task}/{file}"
    answer = live.ask("GET", f"/api/task/status/{task}", {"Host": f"127.0.0.1:{live.port}"})
    (entry,) = json.loads(answer.body)["files"]
    assert entry["poster_url"] == f"{base}/poster.jpg"
    assert entry["mp4_url"] == f"{base}/video.mp4"
    assert entry["hls_url"] == f"{base}/hls/index.m3u8"
    assert entry["storyboard_url"] == f"{base}/storyboard.vtt"


def test_a_range_of_a_result_is_served(live: LiveServer, place: str) -> None:
    """A player gets the part that it asks for, while it is of the file that it began with."""
    url, data = place + "video.mp4", content("video.mp4")
    tag = live.ask("HEAD", url).headers["etag"]
    for asked, expected in (("0-0", data[:1]), ("100-199", data[100:200]), ("2000-", data[2000:]), ("-5", data[-5:])):
        part = live.ask("GET", url, {"Range": f"bytes={asked}", "If-Range": tag})
        assert (part.status, part.body) == (206, expected)
        assert part.headers["content-range"].endswith(f"/{len(data)}")
        assert part.headers["content-length"] == str(len(expected))
    assert live.ask("GET", url, {"Range": "bytes=1-2", "If-Range": '"other"'}).body == data
    outside = live.ask("GET", url, {"Range": "bytes=99999-"})
    assert (outside.status, outside.headers["content-range"]) == (416, f"bytes */{len(data)}")


def test_an_unchanged_result_is_304(live: LiveServer, place: str) -> None:
    """Whoever has it already is told so, and gets it when it is another one."""
    url = place + "hls/720p/segment-00001.m4s"
    first = live.ask("GET", url)
    for condition in (
        {"If-None-Match": first.headers["etag"]},
        {"If-None-Match": f'"x", W/{first.headers["etag"]}'},
        {"If-Modified-Since": first.headers["last-modified"]},
    ):
        again = live.ask("GET", url, condition)
        assert (again.status, again.body) == (304, b""), condition
        assert again.headers["etag"] == first.headers["etag"]
    assert live.ask("GET", url, {"If-None-Match": '"x"'}).body == first.body
    assert live.ask("GET", url, {"If-Match": '"x"'}).status == 412


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "other.jpg",
        "POSTER.JPG",
        "poster.jpg/",
        "poster%0a.jpg",
        "poster.jpg%00",
        "poster.jpg%00.jpg",
        "/poster.jpg",
        "./poster.jpg",
        "../poster.jpg",
        "%2e%2e/poster.jpg",
        "hls",
        "hls/",
        "hls/..",
        "hls/../poster.jpg",
        "hls/%2e%2e/poster.jpg",
        "hls%2f..%2fposter.jpg",
        "hls//index.m3u8",
        "hls/720p",
        "hls/720p/../index.m3u8",
        "hls/720p/../../poster.jpg",
        "hls/720p/720p/index.m3u8",
        "hls/other/index.m3u8",
        "hls/.index.m3u8",
        "hls\\index.m3u8",
        "720p/index.m3u8",
        "storyboard-2.jpg",
        "storyboard.jpg.vtt",
        "../../../uploads",
        "..%2f..%2f..%2fvideodock.db",
        "%252e%252e/poster.jpg",
        "a" * 2000 + ".jpg",
        "%ff%fe.jpg",
    ],
)  # fmt: skip
def test_an_unknown_result_name_is_404(live: LiveServer, place: str, name: str) -> None:
    """Whatever else is written behind a file's address is 404, and no way out of its folder."""
    for method in ("GET", "HEAD"):
        answer = live.ask(method, place + name)
        assert answer.status == 404
        if method == "GET":
            check_refused(answer, 404)


@pytest.mark.parametrize("name", ["notes.txt", "video.mp4.part", ".hidden.jpg", "hls/key.bin"])
def test_other_files_of_a_step_are_not_served(live: LiveServer, name: str) -> None:
    """A file that a step left beside its results is not handed out."""
    check_refused(live.ask("GET", put(live, name) + name), 404)


def test_a_result_is_served_for_its_own_ids_only(live: LiveServer, place: str) -> None:
    """A result belongs to its task and its file, and ids are nothing but ids."""
    _, _, task, file, _ = place.split("/")
    _, _, other_task, other_file, _ = put(live, *FILES).split("/")
    for path in (
        f"{task}/{other_file}/poster.jpg",
        f"{other_task}/{file}/poster.jpg",
        f"{task.upper()}/{file}/poster.jpg",
        f"{task}/../{file}/poster.jpg",
        f"../media/{task}/{file}/poster.jpg",
        f"{task}/{file}%00/poster.jpg",
        f"/{task}/{file}/poster.jpg",
        f"{task}/{file}",
        f"{task}",
        "",
    ):
        check_refused(live.ask("GET", f"/media/{path}"), 404)


def test_an_allowed_origin_may_read_results(live: LiveServer, place: str) -> None:
    """A page that the setting names may read results, ranges and refusals; another may not."""
    url = place + "video.mp4"
    for path, headers, status in (
        (url, {}, 200),
        (url, {"Range": "bytes=0-9"}, 206),
        (url, {"Range": "bytes=99999-"}, 416),
        (url, {"If-None-Match": "*"}, 304),
        (place + "none.jpg", {}, 404),
    ):
        answer = live.ask("GET", path, {**headers, "Origin": PAGE})
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["vary"] == "Origin"
        exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
        assert {"content-range", "content-length", "accept-ranges", "etag"} <= exposed
        assert "access-control-allow-credentials" not in answer.headers
        refused = live.ask("GET", path, {**headers, "Origin": STRANGER})
        assert "access-control-allow-origin" not in refused.headers
        assert refused.headers["vary"] == "Origin"


def test_a_preflight_allows_ranges_of_results(live: LiveServer, place: str) -> None:
    """A browser that asks first whether a page may send ranges is told so; nothing else may be done to results."""
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
    answer = live.ask("OPTIONS", place + "video.mp4", asked)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
    assert "range" in answer.headers["access-control-allow-headers"].lower().split(", ")
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        refused = live.ask(method, place + "video.mp4", {}, b"")
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_by_default_every_origin_may_read_results(tmp_path_factory: pytest.TempPathFactory) -> None:
    """By default every page may play what it knows the address of."""
    with LiveServer(tmp_path_factory.mktemp("any")) as live:
        answer = live.ask("GET", put(live, *FILES) + "hls/index.m3u8", {"Origin": STRANGER})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "vary" not in answer.headers
