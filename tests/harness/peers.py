"""Other servers of tus, each in a process of its own on a free port of loopback, for comparison.

Rule: a peer is set up as its own documentation sets it up, and ended with its `with` block.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.harness import forkserver
from tests.harness.node import CLIENTS
from tests.harness.waiting import until

ROOT = CLIENTS.parents[1]
MAX_SIZE = 10 << 30
_LOG = "peer.log"


@contextlib.contextmanager
def tus_node_server(folder: Path) -> Iterator[str]:
    """@tus/server with @tus/file-store; the URL of its mount."""
    node = shutil.which("node")
    assert node, "Node 20 is not installed"
    script = CLIENTS / "tus_server.mjs"
    command = [node, str(script), json.dumps({"folder": str(folder / "files")})]
    with _answering(partial(_start, command), folder) as url:
        yield url


@contextlib.contextmanager
def tuspyserver(folder: Path) -> Iterator[str]:
    """tuspyserver under uvicorn, with the CORS middleware that its documentation names; the URL of its mount."""
    with _answering(_start_tuspyserver, folder) as url:
        yield url


def _start(command: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    with (folder / _LOG).open("wb") as out:
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def _start_tuspyserver(folder: Path) -> "subprocess.Popen[bytes] | forkserver.ForkedProcess":
    # A fresh one is started for each case that needs a server alone, and its imports take a second of a processor.
    arguments = [str(folder / "files")]
    if forkserver.COLD:
        return _start([sys.executable, "-m", "tests.harness.peers", *arguments], folder)
    log = folder / _LOG
    main, needed = "tests.harness.peers:serve_tuspyserver", ["fastapi.middleware.cors", "tuspyserver", "uvicorn"]
    return forkserver.start(main, arguments, dict(os.environ), log, log, imports=needed)


@contextlib.contextmanager
def _answering(
    start: Callable[[Path], "subprocess.Popen[bytes] | forkserver.ForkedProcess"], folder: Path
) -> Iterator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / _LOG
    process = start(folder)
    try:

        def announced() -> str:
            text = log.read_text(errors="replace")
            assert process.poll() is None, f"the peer ended with {process.returncode}:\n{text[-2000:]}"
            match = re.search(r"^(http://127\.0\.0\.1:[1-9]\d*/\S*)\n", text, re.MULTILINE)
            return match[1] if match else ""

        yield until(announced, seconds=30, what="the peer prints its address")
    finally:
        # Some of them end only when their last connection does.
        process.kill()
        process.wait()


def serve_tuspyserver(arguments: Sequence[str]) -> None:
    """The main function of its process; the argument is the folder of its files."""
    import uvicorn
    from fastapi import FastAPI
    from fastapi.middleware.cors import CORSMiddleware
    from tuspyserver import create_tus_router

    app = FastAPI()
    exposed = [
        *("Location", "Upload-Offset", "Upload-Length", "Upload-Expires"),
        *("Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size"),
    ]
    app.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"], expose_headers=exposed
    )
    files = Path(arguments[0])
    files.mkdir(parents=True, exist_ok=True)
    app.include_router(create_tus_router(prefix="files", files_dir=str(files), max_size=MAX_SIZE))
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    # Its OPTIONS is only at the mount with a slash.
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/files/", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    serve_tuspyserver(sys.argv[1:])
