"""docs/engines.md: the suite, run against Videodock with each of its engines, and against other servers.

Rule: the page is what the run yields and nothing else; it names no time, address or machine, so two runs are equal.
"""

import contextlib
import importlib.metadata
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.case import Case
from tests.conformance.cases import CASES, TOPICS
from tests.conformance.features import look
from tests.conformance.rules import RULES
from tests.conformance.runner import FAIL, NOT_OFFERED, PASS, SECONDS, Result, run, run_alone, run_together
from tests.harness import peers
from tests.harness.node import CLIENTS
from tests.harness.server_process import ServerProcess

Results = Mapping[str, Result]
OWN = "Videodock"
PAGE = CLIENTS.parents[1] / "docs" / "engines.md"

_MARKS = {PASS: "✓", FAIL: "**fail**", NOT_OFFERED: "–"}
_TITLE = """# Engines

<!-- Made by `make engines` from a run of tests/conformance; change it there. -->

How tus servers behave when a client, a network or an attacker does something unusual: {count} cases, each judged
from outside, over HTTP alone. The tests run all of them and compare this page with the result.

To judge a server of your own, from a checkout and with nothing but Python:

```sh
python -m tests.conformance http://127.0.0.1:8000/files   # --help, --list, --only 'patch-*', --json, --header
```

A case stands for a sentence of the specification, of HTTP, or for one of the [rules](#rules) that it leaves open and
real clients depend on. A feature that a server does not offer does not count against it. Authors of a server may
disagree with a rule that is not the specification's.

## How they were set up

{setups}
"""


@dataclass(frozen=True)
class Engine:
    """One column. `fresh` gives each case that runs alone a server of its own: this one would not recover."""

    name: str
    setup: str
    start: Callable[[Path], AbstractContextManager[str]]
    fresh: bool = False


@contextlib.contextmanager
def _videodock(folder: Path, engine: str) -> Iterator[str]:
    # Nothing is processed, so that no poster is made of noise; downloads show what was stored.
    server = ServerProcess(folder, downloads="on", scheduler="none", tus_engine=engine)
    server.start()
    try:
        yield f"{server.url}/files"
    finally:
        server.close()


def engines() -> tuple[Engine, ...]:
    """The columns, with the versions that are installed."""
    python = importlib.metadata.version("tuspyserver")
    node = json.loads((CLIENTS / "package.json").read_text())["dependencies"]
    return (
        Engine(OWN, "as it comes, with downloads on", lambda folder: _videodock(folder, "videodock")),
        Engine(
            "Videodock with tuspyserver",
            "`VIDEODOCK_TUS_ENGINE=tuspyserver`, with downloads on",
            lambda folder: _videodock(folder, "tuspyserver"),
        ),
        Engine(
            f"tuspyserver {python}",
            "its router in a FastAPI application with the CORS middleware of its documentation, under uvicorn",
            peers.tuspyserver,
            fresh=True,
        ),
        Engine(
            f"@tus/server {node['@tus/server']}",
            f"with @tus/file-store {node['@tus/file-store']} and an expiration period, under Node's own HTTP server",
            peers.tus_node_server,
            fresh=True,
        ),
    )


def judge(engine: Engine, folder: Path, *, seconds: float = SECONDS, jobs: int = 4) -> dict[str, Result]:
    """All cases against one engine, by name."""
    if not engine.fresh:
        with engine.start(folder) as url:
            results = run(look(url, (), seconds), CASES, seconds=seconds, jobs=jobs)
        return {result.case.name: result for result in results}
    alone = [case for case in CASES if case.alone]
    with ThreadPoolExecutor(jobs) as pool:
        pending = [pool.submit(_judge_alone, engine, folder / case.name, case, seconds) for case in alone]
        with engine.start(folder / "together") as url:
            target = look(url, (), seconds)
            found = run_together(target, (case for case in CASES if not case.alone), seconds=seconds, jobs=jobs)
        return found | {result.case.name: result for result in (future.result() for future in pending)}


def judge_all(folder: Path) -> dict[str, Results]:
    """All engines, by the names of the columns."""
    chosen = engines()
    # Not all at once, since a starved server is not judged fairly; those first where most time is spent waiting.
    with ThreadPoolExecutor(3) as pool:
        pending = {
            engine.name: pool.submit(judge, engine, folder / f"engine-{number}")
            for number, engine in reversed(list(enumerate(chosen)))
        }
        return {engine.name: pending[engine.name].result() for engine in chosen}


def page(found: Mapping[str, Results]) -> str:
    """docs/engines.md."""
    setups = "\n".join(f"- **{engine.name}**: {engine.setup}" for engine in engines())
    parts = [_TITLE.format(count=len(CASES), setups=setups), _summary(found)]
    parts += [_topic(topic, found) for topic in TOPICS]
    parts += [
        "## Why\n\nWhat the server answered where a case failed.\n",
        *(_failures(*item) for item in found.items()),
    ]
    rules = [f"- **Rule {number}.** {text}" for number, text in RULES.items()]
    parts.append(
        "\n".join(["## Rules", "", "What the specification leaves open and clients depend on.", "", *rules, ""])
    )
    return "\n".join(parts)


def _judge_alone(engine: Engine, folder: Path, case: Case, seconds: float) -> Result:
    with engine.start(folder) as url:
        return run_alone(look(url, (), seconds), case, seconds)


def _summary(found: Mapping[str, Results]) -> str:
    rows = [[topic, *(_score(results, _names(topic)) for results in found.values())] for topic in TOPICS]
    spec = {case.name for case in CASES if case.by_specification}
    others = {case.name for case in CASES} - spec
    rows.append(["**of the specification, MUST and SHOULD**", *(_score(results, spec) for results in found.values())])
    rows.append(["**beyond the specification**", *(_score(results, others) for results in found.values())])
    rows.append(["**all**", *(_score(results, spec | others) for results in found.values())])
    text = "\nHow many of the applicable cases pass; – where the server does not offer the feature.\n\n"
    return "## Summary\n" + text + _table(["feature", *found], rows)


def _names(topic: str) -> set[str]:
    return {case.name for case in TOPICS[topic]}


def _score(results: Results, names: set[str]) -> str:
    counts = Counter(results[name].outcome for name in names)
    applies = counts[PASS] + counts[FAIL]
    return f"{counts[PASS]} of {applies}" if applies else "–"


def _topic(topic: str, found: Mapping[str, Results]) -> str:
    rows = []
    for case in TOPICS[topic]:
        marks = [_MARKS[results[case.name].outcome] for results in found.values()]
        rows.append([f"`{case.name}`", case.shows, case.rule, *marks])
    return f"## {topic[0].upper()}{topic[1:]}\n\n" + _table(["case", "what it shows", "rule", *found], rows)


def _failures(name: str, results: Results) -> str:
    failed = [result for result in (results[case.name] for case in CASES) if result.outcome == FAIL]
    lines = [f"- `{result.case.name}`: {result.why}" for result in failed] or ["Nothing failed."]
    return "\n".join([f"### {name}", "", *lines, ""])


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        PAGE.write_text(page(judge_all(Path(made))))
