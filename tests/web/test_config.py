"""`GET /api/config`, and the size of a chunk that the server advises in its headers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.http import Answer, LiveServer
from tests.tus.client import MOUNT, creation, patch_headers, target

PATH = "/api/config"
TUS = {"Tus-Resumable": "1.0.0"}
ADVICE = {"upload-limit": "max-append-size=1048576", "tus-max-chunk-size": "1048576"}


@pytest.fixture(scope="module")
def advising(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    limits: dict[str, Any] = {"accept_types": "mov,ts", "tus_max_size": 5000, "max_file_size": 4000, "max_files": 3}
    with LiveServer(tmp_path_factory.mktemp("one"), advised_chunk_size="1MiB", auth="on", **limits) as made:
        yield made


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    more: dict[str, Any] = {"accept": "any", "clamd": "tcp://127.0.0.1:1", "scan_max_size": 3000}
    with LiveServer(tmp_path_factory.mktemp("two"), **more) as made:
        yield made


def advice(answer: Answer) -> dict[str, str]:
    return {name: answer.headers[name] for name in ADVICE if name in answer.headers}


def test_the_configuration_has_what_a_client_needs(advising: LiveServer, silent: LiveServer) -> None:
    """Types, sizes, numbers and the chunk size, without a credential; a scanner's limit holds for both protocols."""
    answer = advising.ask("GET", PATH)
    assert (answer.status, answer.headers["cache-control"]) == (200, "public, max-age=60")
    told = json.loads(answer.body)
    assert (told["chunk_size"], told["max_files"], told["authentication"]) == (1 << 20, 3, True)
    assert told["tus"]["accepted_extensions"] == ["mov", "ts", "mts", "m2ts", "m2t"]
    assert (told["tus"]["max_size"], told["form"]["max_file_size"]) == (5000, 4000)
    assert told["tus"]["deferred_length"]
    assert "creation-defer-length" in told["tus"]["extensions"]
    every = json.loads(silent.ask("GET", PATH).body)
    assert (every["chunk_size"], every["authentication"]) == (None, False)
    assert every["tus"]["accepted_extensions"] is None
    assert (every["tus"]["max_size"], every["form"]["max_file_size"]) == (3000, 3000)


def test_it_agrees_with_options(silent: LiveServer, advising: LiveServer) -> None:
    """What OPTIONS of the mount says is the same."""
    for live in (silent, advising):
        told, options = json.loads(live.ask("GET", PATH).body)["tus"], live.ask("OPTIONS", MOUNT).headers
        assert ",".join(told["extensions"]) == options["tus-extension"].replace(",checksum-trailer", "")
        assert str(told["max_size"]) == options["tus-max-size"]
        assert ",".join(told["checksum_algorithms"]) == options["tus-checksum-algorithm"]
        assert ", ".join(told["accepted_extensions"] or ["*"]) == options["upload-extensions"]


def test_it_is_cached_and_read_by_pages(advising: LiveServer) -> None:
    """304 for its tag; every origin may read it; HEAD has no body; other methods are refused."""
    first = advising.ask("GET", PATH, {"Origin": "https://a.example"})
    assert first.headers["access-control-allow-origin"] == "*"
    again = advising.ask("GET", PATH, {"If-None-Match": f'W/"x", {first.headers["etag"]}'})
    assert (again.status, again.body) == (304, b"")
    assert (advising.ask("HEAD", PATH).status, advising.ask("POST", PATH).status) == (200, 405)


def test_every_answer_of_the_mount_advises_a_chunk(advising: LiveServer) -> None:
    """OPTIONS, and a refusal; pages may read it. The page's test sees creation, HEAD and PATCH."""
    answer = advising.ask("OPTIONS", MOUNT, {"Origin": "https://a.example"})
    assert advice(answer) == ADVICE
    assert set(ADVICE) <= {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert advice(advising.ask("POST", MOUNT, TUS)) == ADVICE  # 401


def test_without_the_setting_nothing_is_advised(silent: LiveServer) -> None:
    """No header of either name, and none exposed."""
    made = silent.ask("POST", MOUNT, creation(100))
    upload = made.headers["location"].rpartition("/")[2]
    answers = [made, silent.ask("OPTIONS", MOUNT), silent.ask("PATCH", target(upload), patch_headers(0), b"12345")]
    answers.append(silent.ask("HEAD", target(upload), TUS))
    assert [answer.status for answer in answers] == [201, 204, 204, 200]
    for answer in answers:
        assert advice(answer) == {}
        assert "chunk" not in answer.headers["access-control-expose-headers"].lower()
