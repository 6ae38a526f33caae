"""`python -m bench.bucket`: uploads into a bucket, beside @tus/s3-store and bare boto3. Prints tables for docs/s3.md.

Rules:

- All write to one gateway (versitygw on a folder), by turns, and the stored object is compared with what was sent.
- Requests are counted by the gateway, creation and completion included.
- `boto3.upload_fileobj` reads the file that the clients of the servers send: it has no HTTP in front of it.
"""

import math
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

from bench.clients import Plan
from bench.machine import describe
from bench.measure import Cell, Work, run_cell, warm
from bench.runs import Uploads
from bench.servers.base import ClientError, Server
from bench.servers.bucket import BUCKET, BareClient, BucketServer, Gateway, TusNodeBucket, VideodockBucket
from bench.source import MIB, Slice, Source, WrongBytesError
from server.settings import Settings

KINDS: Sequence[type[BucketServer]] = (VideodockBucket, TusNodeBucket)
OURS, PEER, BARE = VideodockBucket.name, TusNodeBucket.name, BareClient.name
_SETTLED_SECONDS = 0.3
_HEAD = "| | MB/s | requests | CPU-s a GB | peak MB |\n| --- | ---: | ---: | ---: | ---: |"


@dataclass(frozen=True)
class Sending:
    """So many clients, which send `size` bytes together; `chunk` 0 is one request an upload."""

    name: str
    title: str
    clients: int
    chunk: int

    def work(self, source: Source, size: int) -> Work:
        """What a server is given."""
        contents = source.slices(self.clients, size // self.clients)
        plan = Plan(self.chunk)
        return Work(self.name, "", size, self.chunk or size, lambda server: Uploads(server, contents, plan))


SENDINGS = (
    Sending("one-patch", "one PATCH", 1, 0),
    Sending("chunks-8m", "4 clients, chunks of 8 MiB", 4, 8 * MIB),
    Sending("eight", "8 uploads at once, one PATCH each", 8, 0),
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--size", type=click.IntRange(1), default=1000, show_default=True, help="MB that a work sends together.")
def main(rounds: int, size: int) -> None:
    """How fast uploads reach a bucket, and how many requests that takes."""
    missing: dict[type[Server], str] = {kind: reason for kind in KINDS if (reason := kind.missing())}
    with (
        tempfile.TemporaryDirectory(prefix="bench-bucket-") as name,
        tempfile.TemporaryDirectory(dir="/dev/shm") as ram,
    ):
        folder = Path(name)
        with Source(Path(ram), size * 1_000_000) as source:
            cells = _measure(folder, source, size * 1_000_000, rounds, [kind for kind in KINDS if kind not in missing])
        machine = describe(folder, [kind for kind in KINDS if kind not in missing], missing)
    click.echo(f"\n{machine['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['file_system']}")
    for facts in machine["servers"].values():
        click.echo(f"- {facts['version']}")
    for facts in machine["missing"].values():
        click.echo(f"- left out: {facts['label']} ({facts['reason']})")
    for sending in SENDINGS:
        _show(sending, cells, size)


def _measure(
    folder: Path, source: Source, size: int, rounds: int, kinds: Sequence[type[BucketServer]]
) -> dict[tuple[str, str], list[Cell]]:
    gateway = Gateway(folder / "gateway")
    BucketServer.gateway = gateway
    servers = [kind(folder / kind.name) for kind in kinds]
    found: dict[tuple[str, str], list[Cell]] = {}
    try:
        for server in servers:
            server.start()
        for turn in range(rounds):
            for sending in SENDINGS:
                work = sending.work(source, size)
                tries: list[Callable[[], Cell]] = [
                    lambda server=server, work=work, turn=turn: run_cell(work, server, turn)  # type: ignore[misc]
                    for server in servers
                ]
                tries.append(lambda sending=sending, turn=turn: _bare(gateway, source, size, sending, turn))  # type: ignore[misc]
                for attempt in tries[turn % len(tries) :] + tries[: turn % len(tries)]:
                    warm(folder, size)
                    cell = _counted(gateway, attempt)
                    found.setdefault((sending.name, cell.server), []).append(cell)
                    said = cell.error or f"{cell.values['mb_s']:.0f} MB/s, {cell.values['requests']:.0f} requests"
                    click.echo(f"  {sending.name:<10} {turn + 1}  {cell.server:<14} {said}", err=True)
                    gateway.clear()
    finally:
        for server in servers:
            server.stop()
        gateway.stop()
    return found


def _counted(gateway: Gateway, attempt: Callable[[], Cell]) -> Cell:
    before = _settled(gateway)
    cell = attempt()
    cell.values["requests"] = _settled(gateway) - before
    return cell


def _settled(gateway: Gateway) -> int:
    """The number of requests once no more are logged."""
    found = -1
    while found != (found := gateway.requests()):
        time.sleep(_SETTLED_SECONDS)
    return found


def _bare(gateway: Gateway, source: Source, size: int, sending: Sending, turn: int) -> Cell:
    """What boto3 does alone; only for one upload."""
    if sending.clients > 1:
        return Cell(sending.name, BARE, turn, error="one upload only")
    client, key = gateway.client(), uuid.uuid4().hex
    with source.open() as file:
        began = time.perf_counter()
        client.upload_fileobj(file, BUCKET, key)
        seconds = time.perf_counter() - began
    try:
        Slice(source, 0, source.size).compare(gateway.objects / key)
    except (WrongBytesError, ClientError) as error:
        return Cell(sending.name, BARE, turn, error=str(error))
    return Cell(sending.name, BARE, turn, {"mb_s": source.size / seconds / 1e6})


def _show(sending: Sending, cells: dict[tuple[str, str], list[Cell]], size: int) -> None:
    click.echo(f"\n{size} MB, {sending.title}\n\n{_HEAD}")
    for name, label in ((OURS, VideodockBucket.label), (PEER, TusNodeBucket.label), (BARE, BareClient.label)):
        found = cells.get((sending.name, name), [])
        right = [cell for cell in found if cell.error is None]
        if right:
            shown = [_middle(right, metric) for metric in ("mb_s", "requests", "cpu_s_gb", "peak_mb")]
            click.echo(f"| {label} | " + " | ".join(_number(value) for value in shown) + " |")
        elif found and name != BARE:
            click.echo(f"| {label} | {found[0].error} | | | |")
    for text, verdict in _verdicts(sending, cells, size):
        click.echo(f"\n{text}: {verdict}.")


def _verdicts(sending: Sending, cells: dict[tuple[str, str], list[Cell]], size: int) -> list[tuple[str, str]]:
    def of(name: str, metric: str = "mb_s") -> float:
        return _middle([cell for cell in cells.get((sending.name, name), []) if cell.error is None], metric)

    def judge(value: float, met: bool, unit: str = "times") -> str:
        return "not measured" if math.isnan(value) else f"{value:.2f} {unit}, {'met' if met else 'not met'}"

    said = []
    if sending.name != "eight":
        ratio = of(OURS) / of(PEER)
        said.append(("At least 1.2 times the best peer", judge(ratio, ratio >= 1.2)))
    else:
        peak = of(OURS, "peak_mb")
        said.append(("Less than 200 MB at 8 uploads at once", judge(peak, peak < 200, "MB")))
    if sending.name == "one-patch":
        ratio = of(OURS) / of(BARE)
        said.append(("At least 0.8 times bare boto3", judge(ratio, ratio >= 0.8)))
        least = math.ceil(size * 1_000_000 / Settings().s3_part_size) + 2
        ratio = of(OURS, "requests") / least
        said.append((f"At most 1.1 times the {least} requests that its parts need", judge(ratio, ratio <= 1.1)))
    return said


def _middle(cells: Sequence[Cell], metric: str) -> float:
    found = [cell.values[metric] for cell in cells if metric in cell.values]
    return median(found) if found else math.nan


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0f}" if value >= 20 else f"{value:.1f}"


if __name__ == "__main__":
    main()
