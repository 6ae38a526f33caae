"""`python -m bench`: run the benchmark and write its report."""

import math
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import click

from bench import scale, works
from bench.machine import describe
from bench.report import write
from bench.runner import Results, run_groups
from bench.servers import SERVERS
from bench.servers.base import Role, Server
from bench.source import Source

_MEMORY = Path("/dev/shm")  # where the bytes that are sent lie: in memory
_DESCRIPTORS = 20_000
_QUICK_SECONDS = 120  # then nothing more is begun


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--quick", is_flag=True, help="At most three minutes, for development; prints, and writes no report.")
@click.option("--full", is_flag=True, help="With uploads of 10 GB.")
@click.option("--only", metavar="WORK,…", default="", help="Only these; a name may be cut short: `growth`.")
@click.option("--servers", metavar="NAME,…", default="", help="Only these servers.")
@click.option("--rounds", type=click.IntRange(1), help="Rounds of each work; otherwise 5, with --quick 1.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the servers store; otherwise a folder for temporary files. Its disk takes part.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where performance.md, .json and .svg go; otherwise docs, with --quick nowhere.",
)
def main(
    quick: bool, full: bool, only: str, servers: str, rounds: int | None, folder: Path | None, output: Path | None
) -> None:
    """Run upload servers side by side and compare them."""
    if quick and full:
        raise click.UsageError("--quick and --full do not go together")
    much = scale.QUICK if quick else scale.FULL if full else scale.USUAL
    output = output or (None if quick or only or servers else Path("docs"))
    _allow_descriptors()
    # However it is ended, the servers are ended with it; a run in the background has no SIGINT otherwise.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    with (
        tempfile.TemporaryDirectory(prefix="bench-source-", dir=_MEMORY if _MEMORY.is_dir() else None) as memory,
        tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as place,
        Source(Path(memory), much.source_size) as source,
    ):
        groups = [group for group in works.groups(source, much) if _is_wanted(group.name, only)]
        if not groups:
            raise click.UsageError(f"no work is called {only}")
        kinds, missing = _choose(servers)
        for kind, reason in missing.items():
            click.echo(f"left out: {kind.name} ({reason})")
        machine = describe(Path(place), kinds, missing)
        began = time.monotonic()
        seconds = _QUICK_SECONDS if quick else math.inf
        results = Results()
        try:
            run_groups(groups, kinds, source, Path(place), rounds or much.rounds, click.echo, results, seconds)
        except SystemExit:  # a signal; what was measured is reported all the same
            machine["cut"] = True
        machine["minutes"] = round((time.monotonic() - began) / 60, 1)
    text = write(output, machine, groups, kinds, results)
    click.echo("\n" + text)
    sys.exit(1 if "cut" in machine else _code(results))


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _choose(names: str) -> tuple[list[type[Server]], dict[type[Server], str]]:
    wanted = [name for name in names.split(",") if name]
    known = {kind.name for kind in SERVERS}
    if not known.issuperset(wanted):
        raise click.UsageError(f"servers are: {', '.join(sorted(known))}")
    asked = [kind for kind in SERVERS if not wanted or kind.name in wanted]
    missing = {kind: reason for kind in asked if (reason := kind.missing())}
    return [kind for kind in asked if kind not in missing], missing


def _is_wanted(name: str, only: str) -> bool:
    return not only or any(name.startswith(part) for part in only.split(",") if part)


def _allow_descriptors() -> None:
    """A thousand slow uploads need more than the usual 1,024 descriptors, here and in the servers."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _code(results: Results) -> int:
    """1 when a transfer to our own server failed: that is an error, not a result."""
    ours = {kind.name for kind in SERVERS if kind.role in (Role.OURS, Role.VARIANT)}
    return int(any(cell.error is not None for cell in results.cells if cell.server in ours))


if __name__ == "__main__":
    main()
