"""The states of the page that are photographed.

Rule: a state is one line: its name, which server it is on, its path, and the steps of `tests/clients/videos.mjs` that
lead to it. `{task}` is a video that plays, `{portrait}` an upright one, `{token}` and `{revoked}` its share links,
`{file}` a video to upload, `{text}` a file that is none and `{key}` an administrator's key.
"""

from dataclasses import dataclass
from typing import Literal

Step = list[object]
Name = Literal["full", "new", "closed", "month"]


@dataclass(frozen=True)
class State:
    """One state. They are taken in their order, each in a new page."""

    name: str
    server: Name
    path: str
    steps: tuple[Step, ...] = ()


def _shown(selector: str) -> Step:
    return ["visible", selector]


def _click(selector: str) -> Step:
    return ["click", selector]


_ERROR: dict[str, object] = {"error": "internal", "reason": {"code": "internal"}}
_WRONG = "vdk_0123456789ab_wrong"
_PLAYER = _shown(".player-middle")
_VIDEOS = _shown(".video[data-state=completed] img")
_EMPTY = _shown(".empty")
_SIGNED_IN: tuple[Step, ...] = (
    _shown("#credential"),
    ["fill", "#credential", "{key}"],
    ["press", "#credential", "Enter"],
    ["gone", "#credential"],
)
_MONTH = "numbers?from=2026-05-01&to=2026-05-30"
_SETTLED: Step = ["is", "!document.querySelector('.panel[aria-busy=true]')"]
_CHARTS: tuple[Step, ...] = (
    _shown("#numbers-uploads canvas"),
    _SETTLED,
)
_ROOMS = ("", "uploads", "tasks", "owners", "keys", "webhooks", "audit", "settings", "doctor")


# The doctor takes seconds: until then its finding is a dash.
_DONE: Step = ["is", "/Doctor\\s+\\w/.test(document.querySelector('.room').innerText)"]


def _room(name: str) -> State:
    path = f"admin/{name}" if name else "admin"
    loaded: Step = [
        "is",
        "!!document.querySelector('.room h1') && !document.querySelector('.room :is(.loading, .looking)')",
    ]
    return State(f"admin-{name or 'overview'}", "month", path, (*_SIGNED_IN, _shown(".room h1"), loaded))


_GRID = State("videos-grid", "full", "videos", (_VIDEOS,))
_WATCH = State("player", "full", "v/{task}", (_PLAYER,))
_NUMBERS = State("numbers", "month", _MONTH, (*_SIGNED_IN, *_CHARTS))
_UPLOADED = State("upload-rows", "full", "", (_shown("#zone"), _shown(".row img")))

STATES = (
    State("sign-in", "closed", "", (_shown("#credential"),)),
    State(
        "sign-in-wrong-key",
        "closed",
        "",
        (["fill", "#credential", _WRONG], ["press", "#credential", "Enter"], _shown("[aria-invalid=true]")),
    ),
    State("upload-first", "new", "", (_shown("#zone"),)),
    State("upload-program", "new", "", (_shown("#zone"), _click(".program summary"), _shown(".program pre"))),
    State("videos-empty", "new", "videos", (_EMPTY,)),
    State("numbers-empty", "new", "numbers", (_EMPTY,)),
    _UPLOADED,
    State("offline", "full", "", (_shown("#zone"), ["offline"], _shown(".away p"))),
    State("loading", "full", "videos", (["hold", "**/api/tasks?*"], ["reload"], _shown(".loading"))),
    State("error", "full", "videos", (["answer", "**/api/tasks?*", 500, _ERROR], ["reload"], _EMPTY)),
    State("uploading", "full", "", (["hold", "**/files"], ["files", "#files", "{file}"], _shown(".row"))),
    State("upload-refused", "full", "", (["files", "#files", "{text}"], _shown(".row"))),
    _GRID,
    State("videos-list", "full", "videos", (_VIDEOS, _click(".tools-look button:nth-child(2)"), _shown(".is-list"))),
    State("videos-selected", "full", "videos", (_VIDEOS, ["press", ".video-check", " "], _shown(".chosen"))),
    State("videos-no-result", "full", "videos", (_VIDEOS, ["fill", "#search", "no such name"], _EMPTY)),
    State(
        "videos-undo",
        "full",
        "videos",
        (
            _VIDEOS,
            ["hold", "**/api/task/*"],
            ["press", ".video-check", " "],
            _click(".chosen-delete"),
            _shown(".toast"),
        ),
    ),
    _WATCH,
    State("player-portrait", "full", "v/{portrait}", (_PLAYER,)),
    State("video-details", "full", "v/{task}", (_PLAYER, _click("#steps summary"), _click("#facts summary"))),
    State("video-share", "full", "v/{task}", (_PLAYER, _click("#share"), _click("#share-make"), _shown("#share-link"))),
    State("video-menu", "full", "v/{task}", (_PLAYER, _click("#more"), _shown(".menu-list"))),
    State(
        "video-thumbnails",
        "full",
        "v/{task}",
        (_PLAYER, _click("#more"), _click("#choose-poster"), _shown(".stills li:nth-child(4)")),
    ),
    State(
        "video-delete",
        "full",
        "v/{task}",
        (["hold", "**/api/task/*"], _PLAYER, _click("#more"), _click("#delete"), _shown(".toast")),
    ),
    State("video-missing", "full", "v/00000000-0000-4000-8000-000000000000", (_EMPTY,)),
    State("shared", "full", "s/{token}", (_PLAYER,)),
    State("shared-revoked", "full", "s/{revoked}", (_EMPTY,)),
    State("embed", "full", "embed/{token}", (_PLAYER,)),
    _NUMBERS,
    *map(_room, _ROOMS),
)

DOCS = (_UPLOADED, _GRID, _WATCH, _NUMBERS, State("admin-overview", "full", "admin", (_shown(".room h1"), _DONE)))
"""Those of the documents."""
