"""Running cases against a server, beside each other where that is safe.

Rule: a case ends with a result, whatever the server does: passed, failed with one line of why, or not offered.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from tests.conformance.case import Case
from tests.conformance.session import FailedError, NotOfferedError, Session, Target
from tests.conformance.wire import ClosedError, NoHttpError

PASS: Literal["pass"] = "pass"
FAIL: Literal["fail"] = "fail"
NOT_OFFERED: Literal["not offered"] = "not offered"
SECONDS = 10.0
JOBS = 8


@dataclass(frozen=True)
class Result:
    """What became of a case; `why` is one line, empty for a pass."""

    case: Case
    outcome: Literal["pass", "fail", "not offered"]
    why: str = ""


def run(target: Target, cases: Sequence[Case], *, seconds: float = SECONDS, jobs: int = JOBS) -> list[Result]:
    """The results in the order of the cases; those that may not run beside others run last."""
    results = run_together(target, (case for case in cases if not case.alone), seconds=seconds, jobs=jobs)
    for case in cases:
        if case.alone:
            results[case.name] = run_alone(target, case, seconds)
            if results[case.name].outcome == FAIL:
                wait_ready(target, seconds)
    return [results[case.name] for case in cases]


def run_together(target: Target, cases: Iterable[Case], *, seconds: float, jobs: int) -> dict[str, Result]:
    """Results by the names of the cases, which run beside each other."""
    with ThreadPoolExecutor(jobs) as pool:
        return {result.case.name: result for result in pool.map(lambda case: run_one(target, case, seconds), cases)}


def run_alone(target: Target, case: Case, seconds: float) -> Result:
    """One case, and when it passed, whether the server still answers afterwards."""
    result = run_one(target, case, seconds)
    if result.outcome == PASS and not wait_ready(target, seconds):
        return Result(case, FAIL, "the server answers nobody afterwards")
    return result


def run_one(target: Target, case: Case, seconds: float) -> Result:
    """One case, in its own session."""
    missing = [name for name in case.needs if name not in target.offers]
    if missing:
        return Result(case, NOT_OFFERED, f"no {missing[0]}")
    session = Session(target, seconds)
    try:
        case.run(session)
    except NotOfferedError as error:
        return Result(case, NOT_OFFERED, str(error))
    except FailedError as error:
        return Result(case, FAIL, str(error))
    except TimeoutError:
        return Result(case, FAIL, f"no answer within {seconds:g} s")
    except ClosedError:
        return Result(case, FAIL, "the connection was closed without an answer")
    except (NoHttpError, ValueError):
        return Result(case, FAIL, "the answer is not HTTP/1.1")
    except OSError as error:
        return Result(case, FAIL, f"no connection: {error.strerror or error}")
    finally:
        session.close()
    return Result(case, PASS)


def wait_ready(target: Target, seconds: float) -> bool:
    """Whether the server answers again after a case that it may not have borne; not longer than a case may take."""
    session = Session(target, seconds)

    def answers() -> bool:
        try:
            return session.ask("OPTIONS", target.url).status < 500
        except (ClosedError, NoHttpError, ConnectionError):
            return False

    try:
        return session.poll(answers, seconds)
    except OSError:
        return False
    finally:
        session.close()
