"""`python -m bench.eta`: how good the remaining time is that the status tells, over mixed real videos.

Rules:

- FFmpeg makes the videos, and the real steps run on them as the worker runs them. What they report is recorded; the
  estimate is then made from the record alone, by a clock that the record moves (`replay`).
- A video is judged by what the worker learned from the rounds before. The first round is judged, too: a new machine.
- `--write FILE` writes the records, for `tests/worker/test_eta.py`.
"""

import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import click

from bench.machine import describe
from server import media_types
from server.pipeline.media import ffmpeg
from server.pipeline.order import STEPS, groups
from server.pipeline.sandbox.spare_children import SpareChildren
from server.pipeline.step import Step, StepContext
from server.settings import Settings
from server.worker import planning
from server.worker.learned_costs import LearnedCosts
from server.worker.progress import TaskProgress

FROM, UNTIL = 0.2, 0.9  # of the work: there the goal counts; the rest is seconds
GOAL = 0.25
LEAST_SECONDS = 2.0  # nobody reads an error below this
_LOOK_SECONDS = 0.25
_REPORTS = 24  # of a step that a record keeps
_QUIET = ("-hide_banner", "-nostdin", "-loglevel", "error", "-y")

BEGIN, END = -1, 101


@dataclass
class FileRecord:
    """A file and its steps. `reports` are seconds since the file began, step, and percent, or `BEGIN` or `END`."""

    size: int
    container: str
    facts: dict[str, Any]
    reports: list[tuple[float, str, int]] = field(default_factory=list)


@dataclass
class Record:
    """A task that ran."""

    name: str
    transcode: str
    files: list[FileRecord]

    @property
    def seconds(self) -> float:
        """From its begin to its end."""
        return sum(file.reports[-1][0] for file in self.files)


@dataclass(frozen=True)
class Sample:
    """What was told `at` seconds, when `left` seconds were left."""

    at: float
    left: float
    percent: int
    eta: int | None

    @property
    def error(self) -> float | None:
        """How far off, as a share of what was left; 0 below what a reader notices, None when nothing was told."""
        if self.eta is None:
            return None
        off = abs(self.eta - self.left)
        return 0.0 if off <= LEAST_SECONDS else off / self.left


def replay(
    record: Record, learned: LearnedCosts, settings: Settings, clock: list[float], *, looks: bool = True
) -> list[Sample]:
    """Let a task run again by the clock of its record; `learned` reads `clock[0]`, too, and has learned from it.

    Without `looks` it only learns.
    """
    progress = TaskProgress(learned, lambda: clock[0])
    planner = planning.Planner(progress=progress, settings=settings, steps=STEPS)
    began, total = clock[0], record.seconds
    found: list[Sample] = []

    def wait(until: float) -> None:
        clock[0] = clock[0] if looks else max(clock[0], until)
        while clock[0] < until:
            clock[0] = min(until, clock[0] + _LOOK_SECONDS)
            seen, at = progress.look(), clock[0] - began
            found.append(Sample(at, total - at, seen.percent, seen.eta_seconds))

    rows = [_row(number, file) for number, file in enumerate(record.files, 1)]
    planner.task(rows)
    for row, file in zip(rows, record.files, strict=True):
        start = clock[0]
        progress.begin_file(row.id)
        known: Mapping[str, Any] = {}
        for at, step, percent in file.reports:
            wait(start + at)
            if percent == BEGIN:
                progress.begin(row.id, step)
            elif percent == END:
                progress.end(row.id, step, is_success=True)
                known = file.facts if step == "probe" else known
                planner.file(row, known)
            else:
                progress.report(row.id, step, percent)
        progress.end_file(row.id)
    progress.close()
    return found


def judge(samples: Sequence[Sample]) -> tuple[list[float], float, float]:
    """The errors from a fifth of the work on, the share of it in which a time was told, and how far the percent was off
    from the share of the time that was over, at most."""
    total = samples[-1].at
    late = [one for one in samples if FROM * total <= one.at < UNTIL * total]
    errors = [one.error for one in late if one.error is not None]
    off = max(abs(one.percent / 100 - one.at / total) for one in samples)
    return errors, len(errors) / max(1, len(late)), off


def quantile(values: Sequence[float], share: float) -> float:
    """Of so many of the values; 0 for none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def read(path: Path) -> list[Record]:
    """The records of a file."""
    found = json.loads(path.read_text())
    return [
        Record(
            one["name"],
            one["transcode"],
            [FileRecord(f["size"], f["container"], f["facts"], [tuple(r) for r in f["reports"]]) for f in one["files"]],
        )
        for one in found
    ]


def _row(number: int, file: FileRecord) -> Any:
    from server.database.models import TaskFile

    return TaskFile(id=str(number), position=number, size=file.size, media_type=file.container)


@dataclass(frozen=True)
class Video:
    """A video to be made: a piece of so many `seconds`, `loops` times."""

    extension: str
    size: str
    seconds: int
    loops: int
    codecs: tuple[str, ...]

    def make(self, program: str, folder: Path) -> Path:
        """The file."""
        piece, target = folder / f"piece.{self.extension}", folder / f"video.{self.extension}"
        picture = f"testsrc2=size={self.size}:rate=30:duration={self.seconds},noise=alls=8:allf=t,format=yuv420p"
        inputs = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"sine=sample_rate=44100:duration={self.seconds}")
        subprocess.run([program, *_QUIET, *inputs, *self.codecs, str(piece)], check=True)
        copying = ("-stream_loop", str(self.loops - 1), "-i", str(piece), "-c", "copy", str(target))
        subprocess.run([program, *_QUIET, *copying], check=True)
        return target


_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "28", "-g", "60")
_PHONE, _SCREEN = (*_X264, "-c:a", "aac"), ("-c:v", "libx264", "-preset", "ultrafast", "-g", "250", "-c:a", "aac")
_OLD = ("-c:v", "mpeg4", "-q:v", "8", "-c:a", "libmp3lame")

VIDEOS: dict[str, tuple[str, list[Video]]] = {
    "copy": ("mp4", [Video("mp4", "1920x1080", 5, 12, _PHONE)]),
    "copy, key frames rare": ("mp4", [Video("mp4", "1280x720", 10, 4, _SCREEN)]),
    "copy, upright": ("mp4", [Video("mov", "720x1280", 5, 6, _PHONE)]),
    "sound encoded, long": ("mp4", [Video("mkv", "640x360", 6, 100, (*_X264, "-c:a", "libmp3lame"))]),
    "encode, small": ("mp4", [Video("avi", "320x240", 8, 1, _OLD)]),
    "encode, larger": ("mp4", [Video("wmv", "1280x720", 6, 2, ("-c:v", "wmv2", "-q:v", "8", "-c:a", "wmav2"))]),
    "encode, upright": ("mp4", [Video("3gp", "720x1280", 8, 1, ("-c:v", "mpeg4", "-q:v", "8", "-c:a", "aac"))]),
    "copy and HLS": ("both", [Video("mp4", "1280x720", 5, 2, _PHONE)]),
    "three files": (
        "mp4",
        [
            Video("mp4", "1280x720", 5, 6, _PHONE),
            Video("avi", "640x480", 8, 2, _OLD),
            Video("mp4", "1280x720", 5, 12, _PHONE),
        ],
    ),
}


@dataclass(frozen=True)
class Recorder:
    """Runs the steps on a video, and records what they report."""

    program: str
    folder: Path
    spares: SpareChildren

    def run(self, name: str, transcode: str, sources: Sequence[Path]) -> Record:
        """One task."""
        settings = Settings(data_dir=self.folder / "data", transcode=transcode)
        return Record(name, transcode, [self._file(source, settings) for source in sources])

    def _file(self, source: Path, settings: Settings) -> FileRecord:
        media_type = media_types.by_name(source.name)
        if media_type is None:
            raise click.ClickException(f"{source.name} is of no known type")
        made = FileRecord(source.stat().st_size, media_type.name, {})
        began = time.monotonic()

        def work(step: Step) -> Mapping[str, object]:
            def report(percent: int) -> None:
                made.reports.append((round(time.monotonic() - began, 2), step.name, percent))

            output = self.folder / "output" / step.name
            output.mkdir(parents=True)
            report(BEGIN)
            context = StepContext(
                source=source,
                size=made.size,
                output=output,
                media_type=media_type,
                settings=settings,
                limits=step.limits(settings),
                ffmpeg=self.program,
                facts=dict(made.facts),
                cancelled=threading.Event(),
                report=report,
                spares=self.spares,
            )
            found = step.run(context)
            report(END)
            return found

        wanted = [step for step in STEPS if step.applies_to(media_type) and step.is_wanted(settings)]
        for group in groups(wanted):
            with ThreadPoolExecutor(len(group)) as pool:
                for found in pool.map(work, group):
                    made.facts.update(found)
        shutil.rmtree(self.folder / "output")
        made.facts = {key: made.facts.get(key) for key in (*_FACTS, "key_seconds")}
        made.reports = _thinned(sorted(made.reports, key=lambda one: one[0]))
        return made


_FACTS = ("duration", "width", "height", "frame_rate", "video_codec", "audio_codec", "hdr")


def _thinned(reports: list[tuple[float, str, int]]) -> list[tuple[float, str, int]]:
    """At most so many of each step."""
    last: dict[str, int] = {}
    found = []
    for one in reports:
        _, step, percent = one
        if percent in (BEGIN, END) or percent - last.get(step, 0) >= 100 / _REPORTS:
            last[step] = percent if percent not in (BEGIN, END) else 0
            found.append(one)
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--write", "target", type=click.Path(path_type=Path), help="Write the records to this file.")
@click.option("--read", "known", type=click.Path(path_type=Path), help="Judge these records, and run nothing.")
def main(rounds: int, target: Path | None, known: Path | None) -> None:
    """How good the remaining time is, over mixed videos."""
    records = read(known) if known else _run(rounds)
    if target:
        lines = ",\n".join(json.dumps(asdict(one), separators=(",", ":")) for one in records)
        target.write_text(f"[\n{lines}\n]\n")
    clock = [0.0]
    learned = LearnedCosts(lambda: clock[0])
    judged: dict[str, list[tuple[list[float], float, float]]] = {}
    seen: set[str] = set()
    for record in records:
        settings = Settings(transcode=record.transcode)
        samples = replay(record, learned, settings, clock)
        title = record.name if record.name in seen else f"{record.name}, first time"
        seen.add(record.name)
        judged.setdefault(title, []).append(judge(samples))
    click.echo(
        "| | error, median | 90 % | most | told | percent off, most |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    later = [one for title, ones in judged.items() if not title.endswith("first time") for one in ones]
    for title, ones in [*judged.items(), ("all, known", later)]:
        errors = [error for one in ones for error in one[0]]
        told, off = median([one[1] for one in ones] or [0]), max([one[2] for one in ones] or [0])
        cells = (median(errors or [0]), quantile(errors, 0.9), max(errors or [0]), told, off)
        click.echo(f"| {title} | " + " | ".join(f"{100 * cell:.0f} %" for cell in cells) + " |")


def _run(rounds: int) -> list[Record]:
    program, records = ffmpeg.find("auto"), list[Record]()
    with tempfile.TemporaryDirectory(prefix="bench-eta-") as name:
        folder, spares = Path(name), SpareChildren(3)
        machine = describe(folder, [], {})
        click.echo(f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores\n")
        recorder = Recorder(program, folder, spares)
        sources: dict[str, list[Path]] = {}
        for title, (_, videos) in VIDEOS.items():
            for number, video in enumerate(videos):
                place = folder / f"{title} {number}"
                place.mkdir()
                sources.setdefault(title, []).append(video.make(program, place))
        spares.start()
        try:
            for _ in range(rounds):
                for title, (transcode, _) in VIDEOS.items():
                    records.append(recorder.run(title, transcode, sources[title]))
                    click.echo(f"{title}: {records[-1].seconds:.1f} s", err=True)
        finally:
            spares.stop()
    return records


if __name__ == "__main__":
    main()
