"""Clients that upload, join, remove and send forms, and keep account of what they were told."""

import base64
import hashlib
import random
import threading
import time
import uuid
from dataclasses import dataclass, field

import httpx

from tests.harness.multipart import PATH, form_body
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import PATIENCE
from tests.tus.client import VERSION, creation, metadata, patch_headers, video

PART = {"Upload-Concat": "partial"}


@dataclass
class Sent:
    """One upload of one client, and what it was told last: `acked` bytes at `at`, whole, gone."""

    id: str
    data: bytes
    acked: int = 0
    at: float = field(default_factory=time.monotonic)
    whole_at: float | None = None
    gone_at: float | None = None


class Traffic:
    """Some clients of one server; use it with `with`."""

    def __init__(self, server: ServerProcess, clients: int = 3) -> None:
        self._url = server.url
        self.sent: list[Sent] = []
        self.forms: list[tuple[str, float]] = []
        self.failures: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self, number: int) -> None:
        dice = random.Random(number)
        try:
            with httpx.Client(trust_env=False, timeout=PATIENCE, base_url=self._url) as http:
                while not self._stop.is_set():
                    kind = dice.choice(
                        (self._plain, self._plain, self._checked, self._joined, self._removed, self._form)
                    )
                    kind(http, dice)
        except BaseException as error:  # told by the test
            self.failures.append(error)

    def _create(self, http: httpx.Client, size: int, seed: int, *, part: bool = False, data: bytes = b"") -> Sent:
        answer = http.post("/files", headers=creation(size) | (PART if part else {}))
        assert answer.status_code == 201, answer.text
        made = Sent(answer.headers["location"].rpartition("/")[2], data or video(size, seed))
        self.sent.append(made)
        return made

    def _patch(self, http: httpx.Client, one: Sent, end: int, *, checked: str = "") -> None:
        piece = one.data[one.acked : end]
        headers = patch_headers(one.acked)
        if checked:
            digest = hashlib.sha1(piece if checked == "right" else b"", usedforsecurity=False).digest()
            headers["Upload-Checksum"] = f"sha1 {base64.b64encode(digest).decode()}"
        answer = http.patch(f"/files/{one.id}", headers=headers, content=piece)
        assert answer.status_code == (460 if checked == "wrong" else 204), answer.text
        if checked != "wrong":
            one.acked, one.at = end, time.monotonic()
            one.whole_at = one.at if end == len(one.data) else None

    def _plain(self, http: httpx.Client, dice: random.Random) -> None:
        one = self._create(http, dice.randrange(1000, 300_000), dice.randrange(1 << 30))
        stays = dice.random() < 0.3  # open
        for step in range(1, 4 if stays else 5):
            self._patch(http, one, len(one.data) * step // 4)
            self._stop.wait(0.05)

    def _checked(self, http: httpx.Client, dice: random.Random) -> None:
        one = self._create(http, dice.randrange(1000, 300_000), dice.randrange(1 << 30))
        self._patch(http, one, len(one.data) // 2, checked="right")
        self._patch(http, one, len(one.data) * 3 // 4, checked="wrong")
        if dice.random() < 0.5:
            self._patch(http, one, len(one.data), checked="right")

    def _joined(self, http: httpx.Client, dice: random.Random) -> None:
        data = video(dice.randrange(2000, 200_000), dice.randrange(1 << 30))
        cut = len(data) // 3
        pieces = (data[:cut], data[cut:])
        parts = [self._create(http, len(piece), 0, part=True, data=piece) for piece in pieces]
        for part in parts:
            self._patch(http, part, len(part.data))
            self._stop.wait(0.05)
        upload_concat = f"final;{' '.join(f'/files/{part.id}' for part in parts)}"
        headers = VERSION | {"Upload-Concat": upload_concat, "Upload-Metadata": metadata(filename="whole.mp4")}
        for part in parts:
            part.gone_at = time.monotonic()
        answer = http.post("/files", headers=headers)
        assert answer.status_code == 201, answer.text
        now = time.monotonic()
        self.sent.append(Sent(answer.headers["location"].rpartition("/")[2], data, len(data), now, now))

    def _removed(self, http: httpx.Client, dice: random.Random) -> None:
        one = self._create(http, 50_000, dice.randrange(1 << 30))
        self._patch(http, one, 25_000)
        self._stop.wait(dice.random() / 5)
        one.gone_at = time.monotonic()
        assert http.delete(f"/files/{one.id}", headers=VERSION).status_code == 204

    def _form(self, http: httpx.Client, dice: random.Random) -> None:
        boundary = uuid.uuid4().hex
        files = [video(dice.randrange(100, 50_000), dice.randrange(1 << 30)) for _ in range(2)]
        body = form_body(boundary, [("videos", f"{at}.mp4", data) for at, data in enumerate(files)])
        answer = http.post(PATH, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}, content=body)
        assert answer.status_code == 200, answer.text
        self.forms.append((answer.json()["task_id"], time.monotonic()))
