"""A process of its own that asks for HEAD at fixed times while something else goes on.

Rules: an answer's time counts from when its HEAD was due, so that a stall is not measured only once; what was due
before the end is asked for, and counts, also when the server stood still until then; no answer within the time limit
counts as the time limit.
"""

import json
import math
import select
import subprocess
import sys
import time
from collections.abc import Sequence

from bench.clients import Connection
from bench.servers.base import ROOT, ClientError

INTERVAL = 0.02  # seconds between two HEADs
_TIMEOUT = 10
_END_SECONDS = 60  # for the answers that are due


class Probe:
    """Asks as long as its context lasts, or until `times` is called."""

    def __init__(self, port: int, request: bytes) -> None:
        self._command = [sys.executable, "-m", "bench.probe", str(port), request.decode("latin-1")]

    def __enter__(self) -> "Probe":
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it asks from now on
        return self

    def times(self) -> list[float]:
        """End it; the seconds that each answer took, in the order of the HEADs."""
        try:
            found, _ = self._process.communicate(timeout=_END_SECONDS)
            times: list[float] = json.loads(found)
        except (subprocess.TimeoutExpired, ValueError):
            raise ClientError("HEADs beside it had no answer") from None
        return times

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its pipes, and waits
            self._process.kill()


def latency(times: Sequence[float], name: str = "head_") -> dict[str, float]:
    """p50, p99 and maximum in ms of these seconds."""
    ordered = sorted(times)
    return {
        f"{name}p50_ms": ordered[len(ordered) // 2] * 1000,
        f"{name}p99_ms": ordered[len(ordered) * 99 // 100] * 1000,
        f"{name}max_ms": ordered[-1] * 1000,
    }


def _ask(port: int, request: bytes) -> list[float]:
    """Until standard input ends."""
    times: list[float] = []
    with Connection(port, _TIMEOUT) as connection:
        sys.stdout.write("begin\n")
        sys.stdout.flush()
        due, end = time.perf_counter(), math.inf
        while not times or due < end:
            wait = max(0.0, due - time.perf_counter())
            if end == math.inf and select.select([sys.stdin], [], [], wait)[0]:
                end = time.perf_counter()
                continue
            if time.perf_counter() > end + _TIMEOUT:
                break  # it does not keep up at all; what is missing would only be slower
            try:
                connection.ask(request).expect(200, 204)
            except ClientError:
                times.append(float(_TIMEOUT))
                connection.close()
            else:
                times.append(time.perf_counter() - due)
            due += INTERVAL
    return times


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_ask(int(sys.argv[1]), sys.argv[2].encode("latin-1"))))
