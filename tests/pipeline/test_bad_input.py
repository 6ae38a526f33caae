"""Bad input through all steps in their order, as the runner takes them: each file ends in a clear reason, or plays,
and uses no more than it may.

The acceptance test of the same is `tests/acceptance/test_bad_videos.py`.
"""

import json
import logging
import os
import select
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from server import media_types
from server.errors import StepError
from server.messages import templates
from server.pipeline.media import ffmpeg
from server.pipeline.order import STEPS
from server.pipeline.step import Limits, Step, StepContext
from tests import bad_videos, samples
from tests.harness.watch import Watch, used
from tests.pipeline.conftest import Contexts

pytestmark = pytest.mark.turns(3)  # a step and odd videos

EVERYTHING = {"transcode": "both", "storyboard": "on"}
MEMORY = 1536 << 20  # bytes resident, of all processes of a step together
SECONDS = 90.0  # of the processor, for all steps of a file
DISK = 64 << 20  # bytes

WORKERS = [step for step in STEPS if step.name in ("poster", "mp4", "hls")]
"""The steps that start FFmpeg."""

NAME = attrgetter("name")


@dataclass
class Outcome:
    """The columns of a file, the reason of each step that failed, and the reason of the file."""

    facts: dict[str, object] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    failed: str | None = None


Run = Callable[..., Outcome]
Logged = list[EventDict]


@pytest.fixture
def logged() -> Iterator[Logged]:
    """The log lines of our own loggers."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture
def run(context: Contexts, tmp_path: Path) -> Run:
    """Take a file through all steps, within the bounds above."""

    def all_steps(source: Path, **changes: object) -> Outcome:
        outcome, work = Outcome(), tmp_path / "work"
        with Watch(os.getpid(), work) as watch:
            for step in STEPS:
                _take(step, source, outcome, work, context, changes)
                if outcome.failed:
                    break
        print(watch)  # for who wants to know how much it was
        assert watch.memory < MEMORY, watch
        assert watch.seconds < SECONDS, watch
        assert max(watch.disk, used(work)) < DISK + 2 * source.stat().st_size, watch
        return outcome

    return all_steps


def _take(
    step: Step, source: Path, outcome: Outcome, work: Path, context: Contexts, changes: Mapping[str, object]
) -> None:
    media_type = changes.get("media_type", media_types.by_name(source.name))
    assert isinstance(media_type, media_types.MediaType)
    given = context(source, settings=EVERYTHING, facts=dict(outcome.facts), output=work / step.name, **changes)
    if not (step.applies_to(media_type) and step.is_wanted(given.settings)):
        return
    given.output.mkdir(parents=True)
    try:
        outcome.facts |= step.run(replace(given, limits=step.limits(given.settings)))
    except StepError as error:
        outcome.reasons[step.name] = error.code
        if step.is_required:
            outcome.failed = error.code


def _reason(step: Step, given: StepContext) -> str:
    with pytest.raises(StepError) as caught:
        step.run(given)
    return caught.value.code


@pytest.fixture
def listener() -> Iterator[str]:
    """The address of a server that must not be called."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        assert select.select([server], [], [], 0.05)[0] == [], "somebody connected"


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "make",
    [
        bad_videos.one_byte,
        bad_videos.archive,
        bad_videos.truncated,
        bad_videos.no_frames,
        bad_videos.no_fragments,
        bad_videos.huge_pictures,
        bad_videos.many_frames,
        bad_videos.many_times,
        bad_videos.many_runs,
        lambda folder: bad_videos.many_frames(folder, 80_000_000),
        lambda folder: bad_videos.many_frames(folder, 10_000_000),
    ],
    ids=lambda make: make.__name__.replace("<lambda>", "fewer_frames"),
)
def test_a_file_that_is_not_a_video_is_not_playable(
    make: Callable[[Path], Path], run: Run, tmp_path: Path, logged: Logged, caplog: pytest.LogCaptureFixture
) -> None:
    """The file has failed as not playable, at the first step that looks inside, and nobody is warned of it."""
    outcome = run(make(tmp_path))
    assert outcome.failed == "not_playable"
    assert outcome.reasons == {"probe": "not_playable"}
    assert all(templates(outcome.failed))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not [entry for entry in logged if entry["log_level"] not in ("debug", "info")]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("as_video", [False, True])
@pytest.mark.parametrize("kind", ["m3u8", "ffconcat"])
@pytest.mark.parametrize("target", ["file", "passwd", "address"])
def test_a_playlist_reads_no_other_file_and_no_network(
    target: str,
    kind: str,
    as_video: bool,
    run: Run,
    tmp_path: Path,
    listener: str,
    logged: Logged,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing that it points at is read, called or told."""
    secret = samples.make(tmp_path, "secret.mp4")
    place = {"file": str(secret), "passwd": "/etc/passwd", "address": f"{listener}/a.mp4"}[target]
    text = {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{place}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile '{place}'\n",
    }[kind]
    outcome = run(bad_videos.playlist(tmp_path, text, as_video=as_video))
    assert outcome.failed == "not_playable"
    assert used(tmp_path / "work") == 0
    assert "root:" not in caplog.text + str(logged)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("step", [step for step in STEPS if step.name not in ("scan", "probe")], ids=NAME)
@pytest.mark.parametrize("make", [bad_videos.no_frames, bad_videos.huge_pictures, bad_videos.truncated])
def test_each_step_refuses_bad_files_within_its_limits(
    make: Callable[[Path], Path], step: Step, context: Contexts, tmp_path: Path
) -> None:
    """Were such a file ever to get past the probe, each step has a reason of its own, within its limits."""
    with Watch(os.getpid()) as watch:
        assert _reason(step, context(make(tmp_path), settings=EVERYTHING)) in ("not_playable", f"{step.name}_failed")
    assert watch.memory < MEMORY, watch
    assert not [path for path in (tmp_path / "output").rglob("*") if path.is_file()]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (bad_videos.huge_header, {"width": 64, "height": 48}),
        (bad_videos.an_hour_of_black, {"duration": 3600.0}),
        (bad_videos.eight_k, {"width": 7680, "height": 4320}),
        (bad_videos.a_hundred_sounds, {"audio_tracks": 100, "audio_codec": "aac"}),
        pytest.param(bad_videos.ten_hours_of_black, {"duration": 36000.0}, marks=pytest.mark.soak),
        pytest.param(bad_videos.many_sounds, {"audio_tracks": 1000, "audio_codec": "aac"}, marks=pytest.mark.soak),
    ],
)
def test_odd_but_playable_videos_are_processed(
    make: Callable[[Path], Path], expected: Mapping[str, object], run: Run, tmp_path: Path
) -> None:
    """Odd as they are, these can be shown, and everything is made of them."""
    outcome = run(make(tmp_path))
    assert (outcome.failed, outcome.reasons) == (None, {})
    made: dict[str, object] = {
        "has_poster": True,
        "has_mp4": True,
        "has_hls": True,
        "has_storyboard": True,
        "playable": True,
    }
    assert outcome.facts.items() >= {**expected, **made}.items()


def test_ten_thousand_tracks_are_refused_in_bounded_memory(run: Run, tmp_path: Path) -> None:
    """Ten thousand of them are refused before each has got its memory."""
    assert run(bad_videos.many_sounds(tmp_path, 10_000)).failed == "step_memory"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["-i", "-y.mp4", "a;rm -rf.mp4", "%d.mp4", "%03d", "a\nb.mp4", "pipe:0", "$(id).mp4"])
def test_file_names_are_never_options_or_commands(name: str, run: Run, tmp_path: Path) -> None:
    """No step takes a name for an option, a pattern, a protocol or a command."""
    folder = tmp_path / "named"
    folder.mkdir()
    source = folder / name
    source.write_bytes(samples.make(tmp_path, "a.mp4", size="64x48", seconds=1).read_bytes())
    outcome = run(source, media_type=media_types.get("mp4"))
    assert (outcome.failed, outcome.reasons) == (None, {})
    assert outcome.facts["has_mp4"] is outcome.facts["has_hls"] is True
    assert list(folder.iterdir()) == [source]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("extension", ["mov", "mp4"])
def test_no_result_has_the_place_or_the_device(
    extension: str, run: Run, context: Contexts, tmp_path: Path, logged: Logged, caplog: pytest.LogCaptureFixture
) -> None:
    """Copied or encoded: no result has the place or the device, and no log line of a broken one."""
    caplog.set_level("DEBUG")
    source = samples.make(tmp_path, f"a.{extension}", extra=bad_videos.PRIVATE)
    data = source.read_bytes()
    assert all(word.encode() in data for word in bad_videos.PRIVATE_WORDS)
    assert run(source).failed is None
    made = [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
    assert len(made) > 5
    for path in made:
        content = path.read_bytes()
        assert not [word for word in bad_videos.PRIVATE_WORDS if word.encode() in content], path
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    broken = tmp_path / f"broken.{extension}"
    broken.write_bytes(data[:start] + bytes(end - start) + data[end:])
    for step in STEPS:
        if step.name != "scan":
            _reason(step, context(broken, settings=EVERYTHING))
    assert [entry["event"] for entry in logged].count("job_gave_up") >= 4
    assert not [word for word in bad_videos.PRIVATE_WORDS if word in caplog.text + str(logged)]


NOTING = """#!{python}
import json, os, resource, sys
kinds = ("AS", "CPU", "NOFILE", "CORE", "FSIZE")
note = {{kind: resource.getrlimit(getattr(resource, "RLIMIT_" + kind))[0] for kind in kinds}}
note |= {{"group": os.getpgid(0), "own": os.getpid(), "nice": os.nice(0)}}
with open({folder!r} + "/note-%d" % os.getpid(), "w") as file:
    json.dump(note, file)
os.execv({ffmpeg!r}, [{ffmpeg!r}, *sys.argv[1:]])
"""


@pytest.mark.parametrize("step", WORKERS, ids=NAME)
def test_every_ffmpeg_has_the_limits_of_its_step(step: Step, context: Contexts, tmp_path: Path) -> None:
    """Every FFmpeg has the limits of its step, a low priority, and is in the group that is killed."""
    program = tmp_path / "noting-ffmpeg"
    source = samples.make(tmp_path, "a.mp4", size="64x48", seconds=1)
    settings = EVERYTHING | {"step_memory_limit": "700MiB", "step_time_limit": 77, "transcode_time_limit": 77}
    given = context(source, settings=settings, ffmpeg=str(program))
    program.write_text(NOTING.format(python=sys.executable, folder=str(given.output), ffmpeg=ffmpeg.find("auto")))
    program.chmod(0o755)
    step.run(replace(given, limits=step.limits(given.settings)))
    notes = [json.loads(path.read_text()) for path in given.output.glob("note-*")]
    assert notes
    for note in notes:
        assert note["AS"] == 700 << 20
        assert note["CPU"] == (77 + 5) * (os.cpu_count() or 1)
        assert (note["NOFILE"], note["CORE"]) == (64, 0)
        assert note["FSIZE"] < 1 << 30
        # The leader of its group, the child that the server started, is outside of its namespace and has no number.
        assert note["group"] not in (os.getpgid(0), note["own"])
        assert note["nice"] == min(19, os.nice(0) + 10)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("step", WORKERS, ids=NAME)
@pytest.mark.parametrize(
    ("script", "limits", "code"),
    [
        ("exec sleep 600", Limits(seconds=2, memory=1 << 30), "step_timeout"),
        (f"exec {sys.executable} -I -c 'bytearray(2 << 30)'", Limits(seconds=60, memory=1 << 30), "step_memory"),
    ],
    ids=["hangs", "devours"],
)
def test_an_ffmpeg_beyond_its_limits_is_ended(
    script: str, limits: Limits, code: str, step: Step, context: Contexts, tmp_path: Path
) -> None:
    """One that hangs is out of time, one that devours memory out of memory; nothing of either stays (conftest)."""
    program = tmp_path / "bad-ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    source = samples.make(tmp_path, "a.mp4", size="64x48", seconds=1)
    with Watch(os.getpid()) as watch:
        assert _reason(step, context(source, settings=EVERYTHING, ffmpeg=str(program), limits=limits)) == code
    assert watch.memory < MEMORY, watch
