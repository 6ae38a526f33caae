"""The page with Uppy, bundled from `tests/clients/uppy/`, on an origin of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.harness.node import NodeClient
from tests.harness.waiting import PATIENCE


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Bundle the page and serve it; its origin. It uploads to the tus endpoint in its query, `?endpoint=…`."""
    built = folder / "page"
    with NodeClient("uppy/build.mjs", folder, folder=str(built)) as build:
        build.finish()
    pages = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(built)))
    pages.daemon_threads = True
    thread = threading.Thread(target=pages.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{pages.server_port}"
    finally:
        pages.shutdown()
        pages.server_close()
        thread.join(PATIENCE)
