"""`python -m bench.remux`: an MP4 of a gigabyte that is copied into another by the step `mp4`, beside FFmpeg alone.

Rules:

- By turns, from the page cache, and nothing is left to be written to the disk when a turn begins.
- What came out must be a copy: a step that encoded has no number here.
"""

import os
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

from bench.machine import describe
from server import media_types
from server.pipeline.media import ffmpeg
from server.pipeline.step import StepContext
from server.pipeline.steps.mp4 import Mp4
from server.pipeline.steps.probe import Probe
from server.settings import Settings

SIZE = 1_000_000_000
GOAL = 1.2
_QUIET = ("-hide_banner", "-nostdin", "-loglevel", "error", "-y")


@dataclass(frozen=True)
class Turn:
    """What one took, in seconds of wall clock and of processors."""

    wall: float
    processor: float


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def main(rounds: int) -> None:
    """How long a remux takes, and how much longer than FFmpeg alone."""
    program = ffmpeg.find("auto")
    with tempfile.TemporaryDirectory(prefix="bench-remux-") as name:
        folder = Path(name)
        settings = Settings(data_dir=folder / "data")
        source = _source(program, folder)
        facts = Probe().run(_context(Probe().limits(settings), source, folder, program, settings, {}))
        context = _context(Mp4().limits(settings), source, folder, program, settings, facts)
        target, made = folder / "bare.mp4", context.output / "video.mp4"
        bare = [program, *_QUIET, "-i", str(source), "-c", "copy", "-movflags", "+faststart", str(target)]
        works: dict[str, Callable[[], object]] = {
            "FFmpeg alone": lambda: subprocess.run(bare, check=True),
            "step mp4": lambda: Mp4().run(context),
        }
        turns: dict[str, list[Turn]] = {title: [] for title in works}
        for _ in range(rounds):
            for title, work in works.items():
                turns[title].append(_timed(work))
                result = made if made.exists() else target
                if result.stat().st_size < 0.95 * source.stat().st_size:
                    raise click.ClickException(f"{title} made no copy")
                result.unlink()
        machine = describe(folder, [], {})
        click.echo(f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, {source.stat().st_size:,} bytes\n")
    click.echo("| | seconds, median (least to most) | processor seconds |\n| --- | ---: | ---: |")
    for title, found in turns.items():
        walls = sorted(turn.wall for turn in found)
        processor = median(turn.processor for turn in found)
        click.echo(f"| {title} | {median(walls):.2f} ({walls[0]:.2f} to {walls[-1]:.2f}) | {processor:.2f} |")
    alone, ours = (median(turn.wall for turn in found) for found in turns.values())
    verdict = "met" if ours / alone <= GOAL else "not met"
    click.echo(f"\nThe step takes {ours / alone:.2f} times as long; the goal, {GOAL} times, is {verdict}.")


def _source(program: str, folder: Path) -> Path:
    """Noise, which does not compress, over and over."""
    piece, source = folder / "piece.mp4", folder / "source.mp4"
    picture = "testsrc2=size=1280x720:rate=30:duration=10,noise=alls=60:allf=t,format=yuv420p"
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=duration=10"]
    coders = ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "18", "-c:a", "aac"]
    subprocess.run([program, *_QUIET, *inputs, *coders, str(piece)], check=True)
    loops = SIZE // piece.stat().st_size
    copying = ["-stream_loop", str(loops), "-i", str(piece), "-c", "copy", str(source)]
    subprocess.run([program, *_QUIET, *copying], check=True)
    return source


def _context(
    limits: object, source: Path, folder: Path, program: str, settings: Settings, facts: object
) -> StepContext:
    output = folder / "output"
    output.mkdir(exist_ok=True)
    given = {
        "source": source,
        "size": source.stat().st_size,
        "output": output,
        "media_type": media_types.by_name(source.name),
        "settings": settings,
        "limits": limits,
        "ffmpeg": program,
        "facts": facts,
        "cancelled": threading.Event(),
        "report": lambda percent: None,
    }
    return StepContext(**given)  # type: ignore[arg-type]


def _timed(work: Callable[[], object]) -> Turn:
    os.sync()
    before, began = _processor(), time.perf_counter()
    work()
    return Turn(time.perf_counter() - began, _processor() - before)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
