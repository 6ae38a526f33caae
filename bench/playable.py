"""`python -m bench.playable`: how long a web-ready MP4 of 45 MB takes until it can be played and has its poster.

Rules:

- By turns with the bare FFmpeg commands that do as much: a copy, and one frame as a JPEG. The ratios count, in wall
  clock and in processor time; on a machine that does other work, the latter.
- As the worker does it: probe, then the MP4 and the poster side by side. What came out must be a copy.
"""

import os
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

from bench.machine import describe
from server import media_types
from server.pipeline.media import ffmpeg
from server.pipeline.sandbox.spare_children import SpareChildren
from server.pipeline.step import Step, StepContext
from server.pipeline.steps.mp4 import Mp4
from server.pipeline.steps.poster import Poster
from server.pipeline.steps.probe import Probe
from server.settings import Settings

SIZE = 45_000_000
_REST_SECONDS = 4.0  # before each turn, as on an idle machine: then the spare children are ready
_QUIET = ("-hide_banner", "-nostdin", "-loglevel", "error", "-y")


@dataclass(frozen=True)
class Bench:
    """A video, and where its results go."""

    program: str
    source: Path
    folder: Path
    settings: Settings
    spares: SpareChildren

    def run(self, step: Step, facts: Mapping[str, object]) -> Mapping[str, object]:
        """One step, as the worker runs it."""
        output = self.folder / step.name
        output.mkdir(exist_ok=True)
        return step.run(
            StepContext(
                source=self.source,
                size=self.source.stat().st_size,
                output=output,
                media_type=media_types.by_name(self.source.name),
                settings=self.settings,
                limits=step.limits(self.settings),
                ffmpeg=self.program,
                facts=facts,
                cancelled=threading.Event(),
                report=lambda _: None,
                spares=self.spares,
            )
        )

    def playable(self) -> None:
        """Until the video can be played."""
        self.run(Mp4(), self.run(Probe(), {}))

    def both(self) -> None:
        """Until it has its poster, too."""
        facts = self.run(Probe(), {})
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda step: self.run(step, facts), (Mp4(), Poster())))

    def copy(self) -> None:
        """FFmpeg alone, as the MP4 is copied."""
        target = str(self.folder / "bare.mp4")
        self._bare("-i", str(self.source), "-c", "copy", "-movflags", "+faststart", target)

    def copy_and_frame(self) -> None:
        """FFmpeg alone, the copy and one frame."""
        self.copy()
        self._bare("-ss", "15", "-i", str(self.source), "-frames:v", "1", str(self.folder / "bare.jpg"))

    def _bare(self, *arguments: str) -> None:
        subprocess.run([self.program, *_QUIET, *arguments], check=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--size", type=click.IntRange(1_000_000), default=SIZE, show_default=True, help="Bytes of the video.")
def main(rounds: int, size: int) -> None:
    """How long until a video can be played, beside FFmpeg alone."""
    program = ffmpeg.find("auto")
    with tempfile.TemporaryDirectory(prefix="bench-playable-") as name:
        folder = Path(name)
        settings = Settings(data_dir=folder / "data")
        spares = SpareChildren(settings.spare_children)
        bench = Bench(program, _source(program, folder, size), folder, settings, spares)
        works = {
            "FFmpeg alone, the copy": bench.copy,
            "playable": bench.playable,
            "FFmpeg alone, the copy and a frame": bench.copy_and_frame,
            "playable, with its poster": bench.both,
        }
        turns: dict[str, list[tuple[float, float]]] = {title: [] for title in works}
        spares.start()
        try:
            for _ in range(rounds):
                for title, work in works.items():
                    turns[title].append(_timed(work))
        finally:
            spares.stop()
        if (folder / "mp4" / "video.mp4").stat().st_size < 0.95 * bench.source.stat().st_size:
            raise click.ClickException("the step made no copy")
        machine = describe(folder, [], {})
        click.echo(f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, {size:,} bytes\n")
    click.echo("| | seconds, median | processor seconds |\n| --- | ---: | ---: |")
    middle = {title: tuple(median(column) for column in zip(*found, strict=True)) for title, found in turns.items()}
    for title, (wall, processor) in middle.items():
        click.echo(f"| {title} | {wall:.2f} | {processor:.2f} |")
    (bare, ours), (bare_both, ours_both) = (list(middle.values())[i : i + 2] for i in (0, 2))
    for title, alone, steps in (("Playable", bare, ours), ("With its poster", bare_both, ours_both)):
        click.echo(f"\n{title}: {steps[0] / alone[0]:.1f} times as long, {steps[1] / alone[1]:.1f} in processor time.")


def _source(program: str, folder: Path, size: int) -> Path:
    """A few seconds over and over: H.264, AAC, its index in front."""
    piece, source = folder / "piece.mp4", folder / "source.mp4"
    picture = "testsrc2=size=1280x720:rate=30:duration=5,noise=alls=20:allf=t,format=yuv420p"
    coders = ["-c:v", "libx264", "-preset", "ultrafast", "-b:v", "6M", "-g", "60", "-c:a", "aac"]
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=duration=5"]
    subprocess.run([program, *_QUIET, *inputs, *coders, str(piece)], check=True)
    loops = str(size // piece.stat().st_size)
    copying = ["-stream_loop", loops, "-i", str(piece), "-c", "copy", "-movflags", "+faststart", str(source)]
    subprocess.run([program, *_QUIET, *copying], check=True)
    return source


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall clock and of processors."""
    os.sync()
    time.sleep(_REST_SECONDS)
    before, began = _processor(), time.perf_counter()
    work()
    return time.perf_counter() - began, _processor() - before


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
