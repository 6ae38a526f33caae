"""The upload page lists what the server accepts, in both languages, and offers these files to choose."""

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.upload_page import use

pytestmark = pytest.mark.acceptance


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("settings", "english", "chinese", "offered"),
    [
        (
            {"accept_types": "mp4,webm,ts"},
            "MP4, WebM, TS, MTS, M2TS and M2T are accepted, up to 10\u00a0GiB each.",
            "支持 MP4、WebM、TS、MTS、M2TS 和 M2T，单个文件最大 10\u00a0GiB。",
            "[accept='.mp4,.webm,.ts,.mts,.m2ts,.m2t']",
        ),
        (
            {"accept_types": "mov", "tus_max_size": 5 << 20},
            "MOV files are accepted, up to 5\u00a0MiB each.",
            "支持 MOV 文件，单个文件最大 5\u00a0MiB。",
            "[accept='.mov']",
        ),
        (
            {"accept": "any"},
            "All files are accepted, up to 10\u00a0GiB each.",
            "支持所有文件，单个文件最大 10\u00a0GiB。",
            ":not([accept])",
        ),
    ],
    ids=["some", "one", "all"],
)
def test_the_page_lists_the_accepted_types(
    settings: dict[str, object], english: str, chinese: str, offered: str, start_server: StartServer, tmp_path: Path
) -> None:
    """By the settings `accept_types` and `accept`, whatever they are."""
    server = start_server(scheduler="none", **settings)
    use(
        tmp_path,
        server.url,
        ["text", english],
        ["present", f"#files{offered}"],
        ["click", "#language"],
        ["text", chinese],
    )
