"""Signatures in the paths of URLs: of uploads, of originals and of results.

Rules:

- A signature is an HMAC-SHA256, shortened to 128 bits, over what it is for and the id that it belongs to. So one for a
  status is none for another upload, and verifying asks no database.
- The newest key that all processes know signs, and all keys verify: a URL stays valid while its key is there. A
  process learns of a new key within `_SECONDS`.
- Forms: `<key><mac>` for an upload, for as long as the upload lives; `<expiry>.<key><mac>` for what ends, with the
  expiry in hexadecimal seconds.
"""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import string
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.exc import SQLAlchemyError

from server.database.access_models import SigningKey
from server.database.session import Database, changed

ORIGINAL = "original"
RESULTS = "results"
"""Purposes of signatures that expire."""

_ID_CHARACTERS = string.ascii_lowercase + string.digits
_KEY_LENGTH = 4
_MAC_LENGTH = 22  # characters of 128 bits in base64url
_SECONDS = 3.0
_SHORTEST_SECONDS = 0.2  # between two looks
_MOMENT = 0.5  # that one request waits for keys which may not have changed
_UPLOAD = re.compile(rf"[a-z0-9]{{{_KEY_LENGTH}}}[A-Za-z0-9_-]{{{_MAC_LENGTH}}}")
_EXPIRING = re.compile(rf"([0-9a-f]{{8,10}})\.([a-z0-9]{{{_KEY_LENGTH}}}[A-Za-z0-9_-]{{{_MAC_LENGTH}}})")


@dataclass(frozen=True, repr=False)
class _Key:
    id: str
    secret: bytes

    def sign(self, purpose: str, *parts: str) -> str:
        """The key's id and the shortened HMAC."""
        text = "\0".join((purpose, *parts)).encode()
        digest = hmac.digest(self.secret, text, hashlib.sha256)[:16]
        return self.id + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Signatures:
    """Signs and verifies. Its database has the keys."""

    def __init__(
        self, database: Database, clock: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._keys: dict[str, _Key] = {}
        self._newest: _Key | None = None
        self._loaded = self._tried = float("-inf")
        self._looking: asyncio.Future[None] | None = None

    # Uploads

    async def sign_upload(self, upload_id: str) -> str:
        """What follows `~` in the URL of an upload. Raises the errors of the database."""
        return (await self._current()).sign("upload", upload_id)

    async def is_of_upload(self, upload_id: str, signature: str) -> bool:
        """Whether this is the signature of that upload."""
        return bool(_UPLOAD.fullmatch(signature)) and await self._is_right(signature, "upload", upload_id)

    async def sign_task(self, task_id: str) -> str:
        """The same for the status of a task that is not named by the URL of an upload: that of a form."""
        return (await self._current()).sign("task", task_id)

    async def is_of_task(self, task_id: str, signature: str) -> bool:
        """Whether this is the signature of that task."""
        return bool(_UPLOAD.fullmatch(signature)) and await self._is_right(signature, "task", task_id)

    # Originals and results

    async def sign_until(self, purpose: str, subject: str, seconds: int) -> str:
        """A signature that is valid for at least `seconds`, and for a sixth of them more: so URLs repeat, and caches
        work."""
        return self._until(await self._current(), purpose, subject, seconds)

    def sign_until_blocking(self, purpose: str, subject: str, seconds: int) -> str:
        """The same on a thread, in a process that may have no event loop. Raises the errors of the database."""
        if self._is_stale():
            try:
                self._load()
            except SQLAlchemyError:
                if self._newest is None:
                    raise
        return self._until(self._signing(), purpose, subject, seconds)

    def _until(self, key: _Key, purpose: str, subject: str, seconds: int) -> str:
        step = max(10, seconds // 6)
        now = int(self._clock().timestamp())
        until = f"{(now // step + 1) * step + seconds:x}"
        return f"{until}.{key.sign(purpose, subject, until)}"

    async def seconds_left(self, purpose: str, subject: str, signature: str) -> int | None:
        """For how long this signature is valid, not more than 0 when it has expired; None for one that is not ours."""
        match = _EXPIRING.fullmatch(signature)
        if match is None or not await self._is_right(match[2], purpose, subject, match[1]):
            return None
        return int(match[1], 16) - int(self._clock().timestamp())

    # Keys

    async def prepare(self) -> None:
        """Read the keys, and make the first one. Raises the errors of the database."""
        await self._database.run(self._load)

    def make_first(self) -> None:
        """Make the first key, unless there is one: before several processes start, and each would make its own.

        Blocking.
        """
        if not self._read():
            self._insert()

    def rotate(self, keep: int) -> tuple[str, int]:
        """Make a new key; the newest `keep` ones stay, this one among them. Returns its id, and how many went.

        URLs that a removed key signed are not valid any more. Blocking.
        """
        made = self._insert()
        with self._database.write() as session:
            kept = session.scalars(
                select(SigningKey.id).order_by(SigningKey.created_at.desc(), SigningKey.id).limit(keep)
            ).all()
            return made, changed(session, delete(SigningKey).where(SigningKey.id.not_in([made, *kept])))

    async def _current(self) -> _Key:
        if self._is_stale():
            try:
                await self.prepare()
            except SQLAlchemyError:
                if self._newest is None:  # else the key that is known signs on while the database is away
                    raise
        return self._signing()

    def _is_stale(self) -> bool:
        return self._newest is None or self._monotonic() - self._loaded > _SECONDS

    def _signing(self) -> _Key:
        if self._newest is None:
            raise RuntimeError("there is no key to sign with")
        return self._newest

    async def _is_right(self, signature: str, purpose: str, *parts: str) -> bool:
        await self._refresh()
        key = self._keys.get(signature[:_KEY_LENGTH])
        if key is None:
            await self._look_again()
            key = self._keys.get(signature[:_KEY_LENGTH])
        return key is not None and hmac.compare_digest(key.sign(purpose, *parts), signature)

    async def _look_again(self) -> None:
        """Another process may have made a key just now. One look serves all that wait for one, and looks are rare: a
        flood of invented signatures must not become a flood of queries."""
        before = self._loaded
        pause = before + _SHORTEST_SECONDS - self._monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        if self._loaded == before:
            await asyncio.shield(self._look())

    def _look(self) -> "asyncio.Future[None]":
        """The look that is going on, or a new one."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self.prepare())
        return self._looking

    async def _refresh(self) -> None:
        """Read the keys again when they are old: one that was removed ends in a process, too, that signs nothing.

        One request in `_SECONDS` does it, and waits a moment. While the database is away, the keys that are known hold.
        """
        now = self._monotonic()
        if self._keys and now - max(self._loaded, self._tried) > _SECONDS:
            self._tried = now
            with suppress(SQLAlchemyError, TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._look()), _MOMENT)

    def _load(self) -> None:
        rows = self._read()
        if not rows:
            self._insert()
            rows = self._read()
        self._keys = {row.id: _Key(row.id, bytes.fromhex(row.secret)) for row in rows}
        # A new key signs once every process has read it: one that does not know it would answer 404, at which clients
        # throw an upload away. Until the first key is so old, the oldest one signs.
        known = self._clock() - timedelta(seconds=2 * _SECONDS)
        self._newest = self._keys[next((row for row in rows if row.created_at <= known), rows[-1]).id]
        self._loaded = self._monotonic()

    def _read(self) -> list[SigningKey]:
        with self._database.read() as session:
            return list(session.scalars(select(SigningKey).order_by(SigningKey.created_at.desc(), SigningKey.id)))

    def _insert(self) -> str:
        with self._database.write() as session:
            # Two processes that start at once with an empty table may make two: the older one signs.
            made = "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_KEY_LENGTH))
            latest = session.scalar(select(func.max(SigningKey.created_at)))
            now = self._clock()
            at = now if latest is None else max(now, latest + timedelta(milliseconds=1))  # a clock may be set back
            session.add(SigningKey(id=made, secret=secrets.token_hex(32), created_at=at))
        return made
