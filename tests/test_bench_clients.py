"""The clients of the benchmark: what was due counts, and a wrong answer is no figure."""

import itertools
import socket
import threading
import time
from contextlib import suppress

import pytest

from bench.probe import Probe, latency
from bench.requests import Request, Requests
from bench.servers.base import ClientError
from tests.harness.waiting import PATIENCE, until


class Stub(threading.Thread):
    """A server on one connection; its answers come from `answers`, and it sleeps for each number between them."""

    def __init__(self, *answers: bytes | float) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._answers = answers
        self.asked = 0
        self.start()

    def run(self) -> None:
        with suppress(OSError), self._listener, self._listener.accept()[0] as connection:
            for answer in self._answers:
                if isinstance(answer, float):
                    time.sleep(answer)
                elif not connection.recv(1 << 16):
                    break
                else:
                    self.asked += 1
                    connection.sendall(answer)


OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def right(answer: bytes) -> None:
    """The check of an answer."""
    if answer != OK:
        raise ClientError("a wrong answer")


def test_a_stall_is_measured_for_each_request_that_was_due_in_it() -> None:
    """With an interval a request's time counts from when it was due, also if the server stands still at the end."""
    stub = Stub(OK, 0.4, *[OK] * 100)
    requests = Requests(stub.port, [itertools.repeat(Request(b"GET / HTTP/1.1\r\n\r\n", right))], 0.1)
    count, seconds, values = requests.run(0.35)
    requests.close()
    assert (count, stub.asked) == (4, 4)
    assert seconds > 0.39
    assert 200 < values["p50_ms"] <= values["p99_ms"] < values["max_ms"] + 1

    stub = Stub(*[OK] * 5, 0.5, *[OK] * 100)
    with Probe(stub.port, b"HEAD / HTTP/1.1\r\n\r\n") as probe:
        until(lambda: stub.asked == 5, what="five answers")
        time.sleep(0.3)
        times = probe.times()
    assert len(times) > 15
    assert sum(one > 0.2 for one in times) > 5
    assert latency(times)["head_max_ms"] > 400


def test_a_wrong_answer_and_a_closed_connection_end_the_requests() -> None:
    """None of them is a figure."""
    for answers, complaint in (((OK, b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), "wrong"), ((OK,), "closed")):
        requests = Requests(Stub(*answers).port, [itertools.repeat(Request(b"GET / HTTP/1.1\r\n\r\n", right))])
        with pytest.raises(ClientError, match=complaint):
            requests.run(PATIENCE)
        requests.close()
