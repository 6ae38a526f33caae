"""Quotas against bodies of unknown length."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests import samples
from tests.conftest import StartServer
from tests.harness.multipart import swift_body
from tests.harness.rows import query, wait_until_received
from tests.harness.waiting import PATIENCE
from tests.security.callers import PATCH, TUS, Callers, id_of

AT_ONCE = 6
QUOTA = 1 << 20


def test_bodies_of_unknown_length_complete_no_more_than_the_quota(
    start_server: StartServer, database_url: str, tmp_path: Path
) -> None:
    """Six bodies at once are each as long as the quota: together they are too much, and the lengths are refused."""
    server = start_server(database_url=database_url, auth="on", owner_stored_bytes="1MiB", accept="any")
    callers = Callers(server, tmp_path)
    callers.keys["owner"] = callers.key("alice", "upload", "manage")
    asked = {**TUS, "Upload-Defer-Length": "1"}
    urls = [callers.ask("POST", "/files", "owner", asked).headers["Location"] for _ in range(AT_ONCE)]
    together = threading.Barrier(AT_ONCE)

    def body() -> Iterator[bytes]:
        yield bytes(1000)
        together.wait(60)
        yield bytes(QUOTA - 100_000)

    def send(url: str) -> int:
        headers = {**PATCH, "Upload-Offset": "0"}
        return httpx.patch(url, headers=headers, content=body(), trust_env=False, timeout=60).status_code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(send, urls))
    offsets = [int(server.http.head(url, headers=TUS).headers["Upload-Offset"]) for url in urls]
    for url, offset in zip(urls, offsets, strict=True):
        wait_until_received(database_url, id_of(url), offset)

    def end(url: str, offset: int) -> int:
        headers = {**PATCH, "Upload-Offset": str(offset), "Upload-Length": str(offset)}
        return server.http.patch(url, headers=headers, content=b"").status_code

    statuses = [end(url, offset) for url, offset in zip(urls, offsets, strict=True)]
    if sum(offsets) > QUOTA:  # else the server took one after the other
        assert set(statuses) == {429}
    # When there is room again, the upload is completed.
    for url in urls[1:]:
        callers.ask("DELETE", url, "owner", TUS)
    assert end(urls[0], offsets[0]) == 204
    (stored,) = query(database_url, "SELECT sum(length) AS bytes FROM uploads WHERE status = 'complete'")
    assert int(stored["bytes"]) <= QUOTA


def test_forms_of_unknown_length_keep_no_more_than_the_quota(
    start_server: StartServer, database_url: str, tmp_path: Path
) -> None:
    """Six chunked forms at once, each as long as the quota: they keep no more than it together."""
    data = samples.make(tmp_path, "video.mp4", seconds=1).read_bytes()
    data += bytes(QUOTA - 100_000 - len(data))
    server = start_server(database_url=database_url, auth="on", owner_stored_bytes="1MiB")
    callers = Callers(server, tmp_path)
    callers.keys["owner"] = callers.key("alice", "upload", "manage")
    together = threading.Barrier(AT_ONCE)
    whole = swift_body("b", [("video.mp4", data)])

    def body() -> Iterator[bytes]:
        yield whole[:200_000]
        together.wait(60)
        yield whole[200_000:]

    def send(_: int) -> int:
        headers = {"Content-Type": "multipart/form-data; boundary=b", **callers.headers("owner")}
        url = server.url + "/api/upload/videos"
        return httpx.post(url, headers=headers, content=body(), trust_env=False, timeout=60).status_code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = list(pool.map(send, range(AT_ONCE)))
    assert set(statuses) <= {200, 429}
    (stored,) = query(database_url, "SELECT coalesce(sum(length), 0) AS bytes FROM uploads WHERE status = 'complete'")
    assert int(stored["bytes"]) <= QUOTA
    headers = {"Content-Type": "multipart/form-data; boundary=b", **callers.headers("owner")}
    if not stored["bytes"]:  # each of them saw the others
        again = httpx.post(
            server.url + "/api/upload/videos", headers=headers, content=whole, trust_env=False, timeout=PATIENCE
        )
        assert again.status_code == 200
