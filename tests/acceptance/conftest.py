"""Fixtures of the acceptance tests: nginx before a server, and a video for it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.nginx_uploads import MIB, StartNginx
from tests.harness.nginx import Nginx
from tests.harness.server_process import ServerProcess
from tests.samples import big


@pytest.fixture
def start_nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartNginx]:
    """Start nginx before a server: `start_nginx(server, {"text of the file": "other text"})`."""
    with ExitStack() as ends:
        made: list[Nginx] = []

        def start(server: ServerProcess, changes: Mapping[str, str] | None = None) -> Nginx:
            nginx = ends.enter_context(Nginx(tmp_path / f"nginx-{len(made)}", server.port, changes))
            made.append(nginx)
            monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(nginx.certificate))
            return nginx

        yield start
        for nginx in made:
            nginx.check_nothing_buffered()
            assert "[emerg]" not in nginx.log()


@pytest.fixture
def nginx(server: ServerProcess, start_nginx: StartNginx) -> Nginx:
    """nginx before a server with default settings."""
    return start_nginx(server)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playable video of at least 12 MiB whose length no chunk divides."""
    return big(tmp_path_factory.mktemp("video"), "假期 holiday.mp4", 12 * MIB + 12_345)
