"""What the tests of nginx share: uploads through it, and its changes for a prefix."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.harness.nginx import TUS, Nginx
from tests.harness.node import Event
from tests.harness.server_process import ROOT

MIB = 1 << 20

RETRIES = [0, 100, 300, 600, 1000, *[1000] * 20]

PREFIX = "/video"

PROTOCOLS = ["--http1.1", "--http2"]

StartNginx = Callable[..., Nginx]


def options(origin: str, source: Path, **more: object) -> dict[str, Any]:
    return {
        "endpoint": f"{origin}/files",
        "path": str(source),
        "metadata": {"filename": source.name, "filetype": "video/mp4"},
        "retryDelays": RETRIES,
    } | more


def success(events: list[Event]) -> str:
    (end,) = [event for event in events if event["event"] == "success"]
    return str(end["url"])


def create(nginx: Nginx, source: Path, origin: str = "") -> str:
    """Create an upload for that file through nginx; its URL."""
    headers = TUS | {"Upload-Length": str(source.stat().st_size)}
    answer = nginx.http.post(f"{origin or nginx.url}/files", headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["Location"])


def offset(nginx: Nginx, url: str) -> int:
    answer = nginx.http.head(url, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["Upload-Offset"])


def under_prefix() -> dict[str, str]:
    """The change that the page tells to make for a prefix."""
    page = (ROOT / "docs/deploy/README.md").read_text()
    (block,) = [found for found in re.findall(r"```nginx\n(.*?)```", page, re.DOTALL) if f"location {PREFIX}/" in found]
    return {"    location / {\n        proxy_pass http://videodock;\n    }\n": block}
