"""The servers that are photographed.

Rule: only those start that a wanted state is on; what is on them is real, and made by their own API or commands.
"""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from server.database.session import Database
from tests import samples
from tests.harness.rows import execute
from tests.harness.server_process import ServerProcess
from tests.harness.videos_page import upload
from tests.reports.generated_month import fill
from tests.screenshots.states import Name, State, Step

SETTINGS: dict[Name, dict[str, Any]] = {
    "full": {"transcode": "mp4", "storyboard": "on"},
    "new": {},
    "closed": {"auth": "on"},
    "month": {"auth": "on"},
}
COLOURS = {
    "Harbour at dawn": ("0x13315c", "0xf2a65a", "0xeec170", "0x58508d"),
    "假期的第一天": ("0x0b6e4f", "0x08a045", "0x6bbf59", "0x21d19f"),
    "Talk about caching": ("0x22223b", "0x4a4e69", "0x9a8c98", "0xc9ada7"),
    "Interview with the archivist of the city (part two)": ("0x3d0814", "0x9e2a2b", "0xe09f3e", "0xfff3b0"),
    "Northern lights": ("0x011627", "0x2ec4b6", "0x41ead4", "0x3a0ca3"),
}


class Servers:
    """The servers that some states are on, running within its `with` block."""

    def __init__(self, folder: Path, names: set[Name]) -> None:
        self.urls: dict[Name, str] = {}
        self._folder = folder
        self._names = names
        self._values: dict[str, str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "Servers":
        with self._stack:
            for name in sorted(self._names):
                self._start(name)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def filled(self, state: State) -> tuple[str, str, list[Step]]:
        """The origin of a state's server, its path and its steps, with the values in place of their names."""
        steps = [[self._fill(part) for part in step] for step in state.steps]
        return self.urls[state.server], str(self._fill(state.path)), steps

    def _fill(self, part: object) -> object:
        if not isinstance(part, str):
            return part
        for name, value in self._values.items():
            part = part.replace(f"{{{name}}}", value)
        return part

    def _start(self, name: Name) -> None:
        server = ServerProcess(self._folder / name, **SETTINGS[name])
        self._stack.callback(server.close)
        server.start()
        self.urls[name] = server.url
        if name == "full":
            self._values |= _videos(server, self._folder)
        elif name == "month":
            self._values["key"] = _month(server)


def _videos(server: ServerProcess, folder: Path) -> dict[str, str]:
    """Videos of a server, and what `states.py` calls them."""
    portrait = upload(server, _video(folder, "Walk", COLOURS["Northern lights"], seconds=4, size="360x640"))
    *_, task = [
        upload(server, _video(folder, name, colours, seconds=5 + 3 * place, size="1280x720"))["task_id"]
        for place, (name, colours) in enumerate(reversed(COLOURS.items()))
    ]
    tokens = {}
    for kind in ("token", "revoked"):
        answer = server.http.post(f"{server.url}/api/task/{task}/shares", json={})
        assert answer.is_success, answer.text
        tokens[kind] = answer.json()["token"]
        if kind == "revoked":
            path = f"/api/task/{task}/shares/{answer.json()['share']['id']}"
            assert server.http.delete(f"{server.url}{path}").is_success
    text = folder / "notes.txt"
    text.write_text("no video")
    file = _video(folder, "Birthday", COLOURS["Harbour at dawn"], seconds=2, size="640x360")
    return {"task": task, "portrait": portrait["task_id"], "file": str(file), "text": str(text)} | tokens


def _video(folder: Path, name: str, colours: tuple[str, ...], *, seconds: int, size: str) -> Path:
    """Slow waves of colours, which are quieter in a picture than a test pattern."""
    path = folder / f"{name}.mp4"
    chosen = ":".join(f"c{place}={colour}" for place, colour in enumerate(colours))
    graph = f"gradients=size={size}:rate=10:nb_colors={len(colours)}:{chosen}:speed=0.02:seed=7:duration={seconds}"
    sound = ("-f", "lavfi", "-i", f"sine=frequency=220:duration={seconds}")
    codecs = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest")
    samples.run("-f", "lavfi", "-i", graph, *sound, *codecs, str(path))
    return path


def _month(server: ServerProcess) -> str:
    """A month of uploads of many owners; an administrator's key."""
    server.stop()  # it would process the tasks that seem to wait
    database = Database(server.database_url, 2)
    try:
        with database.change() as connection:
            fill(connection, 3_000)
    finally:
        database.close()
    execute(server.database_url, "UPDATE uploads SET status = 'expired', reserved = 0 WHERE status = 'open'")
    unended = "status IN ('uploaded', 'processing')"
    execute(server.database_url, f"UPDATE tasks SET status = 'completed', lease_expires_at = NULL WHERE {unended}")
    server.start()
    return server.run("keys", "create", "--owner", "root", "--scope", "admin").stdout.split()[0]
