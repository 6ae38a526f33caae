"""One run of a work on one server: what is prepared, what is measured, and what must be stored afterwards.

Rule: a run prepares what is not measured, and hands back which bytes must be stored where.
"""

import time
from collections.abc import Sequence

from bench.clients import FormSender, Plan, Uploader, together
from bench.cycles import BODY_BYTES, Cycles
from bench.measure import Outcome, Run
from bench.phones import Phones
from bench.servers.base import Server
from bench.source import Slice
from bench.trickle import Trickle


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
    """Cycles, and at the end one upload whose bytes are compared: the others are gone."""

    def __init__(self, server: Server, content: Slice, connections: int, seconds: float) -> None:
        self._server = server
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
