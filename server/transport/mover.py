"""Slow bodies: one thread moves the bytes of all of them, as they come.

Rule: while the mover has a body, only its thread reads the socket and writes the file. The body's reader gets it back,
with its counts, when there is something to decide.

Theory of operation. A phone sends a packet now and then. To wake the event loop for each, hand the body to a thread and
wait for that costs ten times what moving the bytes does. So this thread waits for all slow sockets at once, with an
epoll of its own, and takes what is there: two system calls in the usual case. A socket wakes it when much has come
(the kernel's low-water mark); what is less is taken after a pause, which grows to two seconds. A body goes back to the
event loop when it is over, when its client is gone or silent for too long, when it is wanted back (`release`), when its
file takes no more, and when it has become fast: fast bodies have a thread of their own.
"""

import asyncio
import contextlib
import fcntl
import os
import random
import selectors
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from server import threads
from server.transport.body import Pace
from server.transport.time_slice import MOVE_BYTES, PLENTY
from server.transport.transfer import Transfer, set_low_water_mark

_LOW_WATER = PLENTY // 2
_TICK_SECONDS = 0.1  # between two looks at the bodies whose pause is over
_FAST_RATE = 16 << 20  # bytes a second; below that a thread of its own gains nothing
_FIRST_PAUSE = 0.05  # seconds until what came is taken, however little
_LONGEST_PAUSE = 2.0  # and of a body that stays slow

Begin = Callable[[int, int, int, bytes], Transfer]
"""A slice: after so many bytes that were moved, at most so many more, with so many milliseconds of patience, and with
bytes that go first."""


class SlowBody:
    """A body on its way through the mover. Sizes are bytes, times seconds.

    Its counts and flags are those of a slice (`Transfer`), and of all slices together.
    """

    def __init__(
        self,
        descriptor: int,
        begin: Begin,
        limit: int,
        *,
        before: int,
        front: bytes,
        pace: Pace,
        idle_seconds: float,
        last_byte_at: float,
    ) -> None:
        """`limit` bytes of the socket at most; `front` was read before and goes first; `before` that, so many were
        moved."""
        self.descriptor = descriptor
        self._begin = begin
        self._before = before
        self._front = front
        self._limit = limit
        self._pace = pace
        self._idle_seconds = idle_seconds
        self.moved = 0
        self.count = 0
        self.left = b""
        self.gone = self.ended = False
        self.can_splice = True
        self.is_fast = False
        """Much came at once."""
        self.is_idle = False
        """No byte came for too long, or too few."""
        self.is_stuck = False
        """The socket is readable, and nothing can be taken."""
        self.last_byte_at = last_byte_at
        self.error: BaseException | None = None
        self._pause = _FIRST_PAUSE
        self.due = 0.0
        """When the pause is over, by the monotonic clock."""
        self._waiting_since = 0.0
        self._taken_at = last_byte_at
        self._marked = 1

    def enter(self, now: float, waited: float) -> bool:
        """Write what was read before, if there is anything, and wait; returns whether it goes back."""
        self._waiting_since = waited
        if self._front:
            return self.take(now, waited)
        return self.wait(now, waited)

    def wait(self, now: float, waited: float) -> bool:
        """Begin to wait; `waited` is how long the mover has waited in its life.

        Returns true, and does not wait, when the client's patience is spent: a byte now and then is too little.
        """
        self._mark(min(_LOW_WATER, max(1, self._limit - self.count)))
        # Each at a random time, also when their packets come all at once.
        pause = min(self._pause * random.uniform(0.5, 1.5), self._idle_seconds / 4, max(0.0, self._pace.left))  # noqa: S311
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self.due = now + pause
        self._waiting_since = waited
        self.is_idle = self._pace.left <= 0
        return self.is_idle

    def take(self, now: float, waited: float) -> bool:
        """Move what is there, and wait again; returns whether the body goes back to the event loop."""
        front, self._front = self._front, b""
        part = self._begin(self._before + self.moved, min(MOVE_BYTES, self._limit - self.count), 0, front)
        try:
            part.run()
        finally:
            self.moved += part.moved
            self.count += part.count
            self._pace.count(waited - self._waiting_since, part.count)
        if part.count:
            self.last_byte_at = now
        self.left, self.gone, self.ended, self.can_splice = part.left, part.gone, part.ended, part.can_splice
        # By its rate: after a moment in which this thread stood still, much is there of every body.
        self.is_fast = part.count >= PLENTY and part.count >= _FAST_RATE * (now - self._taken_at)
        self._taken_at = now
        self.is_stuck = part.blocked and not part.count and not front
        is_over = self.left or self.is_fast or self.is_stuck or not self.can_splice or self.count == self._limit
        if is_over or not part.blocked:
            return True
        return self.wait(now, waited)

    def look(self, now: float, waited: float) -> bool:
        """The same when the pause is over: moves what is there, however little, or finds that nothing comes."""
        if bytes_waiting(self.descriptor):
            return self.take(now, waited)
        self._pace.count(waited - self._waiting_since, 0)
        if self.wait(now, waited):
            return True
        self.is_idle = now - self.last_byte_at >= self._idle_seconds
        return self.is_idle

    def leave(self) -> None:
        """After the last wait."""
        self._mark(1)

    def _mark(self, count: int) -> None:
        if count != self._marked:
            self._marked = count
            set_low_water_mark(self.descriptor, count)


class Mover:
    """The thread, which begins with the first slow body and stays."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._posted: deque[tuple[SlowBody, Callable[[], None] | None]] = deque()
        self._is_woken = False
        self._wake_reader, self._wake_writer = -1, -1
        self._thread: threading.Thread | None = None
        # All that follows is this thread's own. The selector comes with it: a process that is forked from one without a
        # mover must not share its descriptor.
        self._selector: selectors.BaseSelector
        self._bodies: dict[SlowBody, Callable[[], None]] = {}
        # Seconds that it waited so far. While it moves bytes, the time does not count against any client.
        self._waited = 0.0

    async def move(self, body: SlowBody) -> None:
        """Move `body` until there is something to decide; its attributes say what. Raises what its target raises.

        It is back when this returns, also when the caller is cancelled.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def back() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: its process ends
                loop.call_soon_threadsafe(_resolve, future, body)

        self._post(body, back)
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            self.release(body)
            await threads.finished(future)
            raise

    def release(self, body: SlowBody) -> None:
        """Have a body given back soon."""
        self._post(body, None)

    def holds(self, body: SlowBody) -> bool:
        """Whether the thread waits for this body."""
        return body in self._bodies

    def start(self) -> None:
        """Start the thread, if it does not run; the first body does."""
        with self._lock:
            if self._thread is None:
                self._selector = selectors.DefaultSelector()
                self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
                self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
                self._thread = threading.Thread(target=self._run, name="mover", daemon=True)
                self._thread.start()

    def _post(self, body: SlowBody, back: Callable[[], None] | None) -> None:
        if self._thread is None:
            self.start()
        with self._lock:
            self._posted.append((body, back))
            if not self._is_woken:
                self._is_woken = True
                os.write(self._wake_writer, b"\0")

    def _run(self) -> NoReturn:
        look_at = 0.0
        while True:
            began = time.monotonic()
            ready = self._selector.select(_TICK_SECONDS if self._bodies else None)
            now = time.monotonic()
            self._waited += now - began
            for key, _ in ready:
                if key.data is None:
                    self._take_posted()
                else:
                    self._step(key.data, SlowBody.take)
            if now >= look_at:
                look_at = now + _TICK_SECONDS
                for body in [body for body in self._bodies if body.due <= now]:  # a few of hundreds
                    self._step(body, SlowBody.look)

    def _take_posted(self) -> None:
        with self._lock:
            os.read(self._wake_reader, 1)
            self._is_woken = False
            posted, self._posted = self._posted, deque()
        for body, back in posted:
            if back is None:
                self._give_back(body)
            else:
                self._bodies[body] = back
                self._step(body, self._enter)

    def _enter(self, body: SlowBody, now: float, waited: float) -> bool:
        self._selector.register(body.descriptor, selectors.EVENT_READ, body)
        return body.enter(now, waited)

    def _step(self, body: SlowBody, work: Callable[[SlowBody, float, float], bool]) -> None:
        if body not in self._bodies:
            return
        try:
            is_over = work(body, time.monotonic(), self._waited)
        except BaseException as error:  # of its file, or a fault: no other body may wait for this one
            body.error, is_over = error, True
        if is_over:
            self._give_back(body)

    def _give_back(self, body: SlowBody) -> None:
        back = self._bodies.pop(body, None)
        if back is None:  # it is back already
            return
        with contextlib.suppress(KeyError):
            self._selector.unregister(body.descriptor)
        body.leave()
        back()


def bytes_waiting(descriptor: int) -> int:
    """Bytes of a socket that are there to be read."""
    found = bytearray(4)
    fcntl.ioctl(descriptor, termios.FIONREAD, found)
    return int.from_bytes(found, sys.byteorder)


def _resolve(future: "asyncio.Future[None]", body: SlowBody) -> None:
    if future.done():
        return
    if body.error is None:
        future.set_result(None)
    else:
        future.set_exception(body.error)


mover = Mover()
"""The mover of this process."""
