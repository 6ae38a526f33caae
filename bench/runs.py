"""One run of a work on one server: what is prepared, what is measured, and what must be stored afterwards.

Rule: a run prepares what is not measured, and hands back which bytes must be stored where.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.clients import Connection, FormSender, Plan, Uploader, parse, together
from bench.cycles import BODY_BYTES, Cycles
from bench.measure import Outcome, Run
from bench.phones import Phones
from bench.probe import Probe, latency
from bench.requests import Request, Requests
from bench.servers.base import ClientError, Server
from bench.source import Slice
from bench.trickle import Trickle
from bench.videos import Queue, Video, wait_until_idle

_LOOKERS = 8


class Uploads(Run):
    """As many uploads at once as there are contents."""

    def __init__(self, server: Server, contents: Sequence[Slice], plan: Plan) -> None:
        self._server = server
        self._uploaders = [Uploader(server, content, plan) for content in contents]
        for uploader in self._uploaders:
            uploader.reckon()
        for uploader in self._uploaders:
            uploader.create()

    def run(self) -> Outcome:
        seconds = together([uploader.run for uploader in self._uploaders])
        stored = [(self._server.stored(one.target, one.answer), one.content) for one in self._uploaders]
        hashing = sum(one.hash_seconds for one in self._uploaders)
        values = {"hash_times": seconds / hashing} if hashing else {}
        return Outcome(seconds, sum(one.content.length for one in self._uploaders), stored, values)

    def close(self) -> None:
        for uploader in self._uploaders:
            uploader.close()


class Form(Run):
    """One form with one file."""

    def __init__(self, server: Server, content: Slice) -> None:
        self._server = server
        self._sender = FormSender(server, content)

    def run(self) -> Outcome:
        seconds = together([self._sender.run])
        assert self._sender.answer is not None
        content = self._sender.content
        return Outcome(seconds, content.length, [(self._server.stored_form(self._sender.answer), content)])

    def close(self) -> None:
        self._sender.close()


class SmallOnes(Run):
    """Cycles, and at the end one upload whose bytes are compared: the others are gone.

    With `others`, so many uploads of a filled table are open meanwhile.
    """

    def __init__(self, server: Server, content: Slice, connections: int, seconds: float, others: int = 0) -> None:
        self._server = server
        if others:
            server.fill(others)
        self._last = Slice(content.source, content.start, BODY_BYTES)
        self._cycles = Cycles(server, content, connections)
        self._seconds = seconds

    def run(self) -> Outcome:
        count, seconds = self._cycles.run(self._seconds)
        # Not created before: a server may close a connection that was silent for so long.
        last = Uploads(self._server, [self._last], Plan(0))
        try:
            return Outcome(seconds, count, last.run().stored)
        finally:
            last.close()

    def close(self) -> None:
        self._cycles.close()


class Polls(Run):
    """The status of finished uploads, a client each; with an interval each asks once in it."""

    def __init__(self, server: Server, contents: Sequence[Slice], seconds: float, interval: float | None) -> None:
        self._server = server
        self._seconds = seconds
        self._stored: list[tuple[Path, Slice]] = []
        with Connection(server.port) as connection:
            requests = [self._poll(connection, content) for content in contents]
        self._requests = Requests(server.port, [itertools.repeat(one) for one in requests], interval)

    def run(self) -> Outcome:
        count, seconds, values = self._requests.run(self._seconds)
        return Outcome(seconds, count, self._stored, values)

    def close(self) -> None:
        self._requests.close()

    def _poll(self, connection: Connection, content: Slice) -> Request:
        """Upload it; the request whose answer is the same from now on, as nothing is processed."""
        server = self._server
        target = server.created(connection.ask(server.create_request(content.length)))
        head = server.append_request(target, 0, content.length, {})
        answer = connection.ask(head, partial(content.send, offset=0, length=content.length))
        server.check_appended(answer, content.length)
        self._stored.append((server.stored(target, answer), content))
        asking = server.status_request(answer)
        status = connection.ask(asking)
        server.check_status(status, answer)
        return Request(asking, partial(_check_same, b"\r\n\r\n" + status.body))


def _check_same(end: bytes, answer: bytes) -> None:
    if answer[9:12] != b"200" or not answer.endswith(end):
        raise ClientError(f"another status than before: {answer[-300:].decode(errors='replace')}")


class Looks(Run):
    """HEAD of so many open uploads, one after the other on each of eight connections."""

    def __init__(self, server: Server, seconds: float, count: int) -> None:
        self._seconds = seconds
        targets = server.fill(count)

        def requests(first: int) -> Iterator[Request]:
            for target in itertools.cycle(targets[first::_LOOKERS] or targets):
                yield Request(server.head_request(target), _check_empty)

        self._requests = Requests(server.port, [requests(first) for first in range(_LOOKERS)])

    def run(self) -> Outcome:
        count, seconds, values = self._requests.run(self._seconds)
        return Outcome(seconds, count, [], values)

    def close(self) -> None:
        self._requests.close()


def _check_empty(answer: bytes) -> None:
    if parse(answer).expect(200, 204).headers.get("upload-offset") != "0":
        raise ClientError("it says that an upload has bytes which nobody has sent")


class Heads(Run):
    """HEAD of one upload at fixed times, of a server that was idle before."""

    def __init__(self, server: Server, seconds: float) -> None:
        self._server = server
        self._seconds = seconds
        with Connection(server.port) as connection:
            self._target = server.created(connection.ask(server.create_request(BODY_BYTES)))
        wait_until_idle(server)

    def run(self) -> Outcome:
        with Probe(self._server.port, self._server.head_request(self._target)) as probe:
            time.sleep(self._seconds)
            times = probe.times()
        return Outcome(self._seconds, len(times), [], latency(times))


class WhileEncoding(Run):
    """Another run, while the server encodes as many videos as it will at once."""

    def __init__(self, server: Server, video: Video, make: Callable[[Server], Run]) -> None:
        self._queue = Queue(server, video)
        self._run = make(server)
        try:
            self._queue.start()
        except BaseException:
            self._run.close()
            raise

    def run(self) -> Outcome:
        outcome = self._run.run()
        self._queue.check()
        return outcome

    def close(self) -> None:
        self._run.close()


class SlowOnes(Run):
    """Trickling uploads."""

    def __init__(self, server: Server, contents: list[Slice], seconds: float) -> None:
        self._server = server
        self._trickle = Trickle(server, contents, seconds)
        self._seconds = seconds
        self._trickle.prepare()

    def run(self) -> Outcome:
        values = self._trickle.run()
        stored = [(self._server.stored(path, answer), content) for content, path, answer in self._trickle.whole()]
        return Outcome(self._seconds, len(stored), stored, values)

    def close(self) -> None:
        self._trickle.close()


class ManyPhones(Run):
    """Uploads at one rate that begin and end together."""

    def __init__(self, server: Server, contents: list[Slice], rate: int) -> None:
        self._server = server
        self._phones = Phones(server, contents, rate)
        self._phones.prepare()

    def run(self) -> Outcome:
        began = time.perf_counter()
        values = self._phones.run()
        seconds = time.perf_counter() - began
        whole = self._phones.whole()
        stored = [(self._server.stored(path, answer), content) for content, path, answer in whole]
        return Outcome(seconds, sum(content.length for content, _, _ in whole), stored, values)

    def close(self) -> None:
        self._phones.close()
