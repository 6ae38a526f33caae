"""Odd videos through both steps, judged by others: FFmpeg decodes source and result, and Chromium plays and seeks.

`CORPUS_SEED` chooses the sample of `make test`; `make soak` takes all, or those that `CORPUS_ONLY` names, separated by
commas, with both versions of FFmpeg.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from server import messages
from server.errors import StepError
from server.pipeline.media import ffmpeg
from server.pipeline.steps.hls import Hls
from server.pipeline.steps.mp4 import Mp4
from tests.harness.player import Item, Watched, watch
from tests.pipeline import media
from tests.pipeline.conftest import Contexts
from tests.pipeline.corpus import CORPUS, OddFile, sample

_ONLY = os.environ.get("CORPUS_ONLY", "")
_BINARIES: tuple[str, ...] = ("system", "bundled")
_COUNT = 3
_BATCH = 20
_PACE = 5  # pictures a second that are compared
_LIKE = 14.0  # of 255: how much a picture may differ on average, since it was encoded anew
_SHOWN = 30.0  # the same for what a browser shows, whose picture may be a neighbour's
_REASONS = {"not_playable", "no_video_stream", "transcode_failed"}


def test_the_corpus_has_150_different_files() -> None:
    """At least 150, no two of one name."""
    assert len({odd.name for odd in CORPUS}) == len(CORPUS) >= 150


@pytest.mark.usefixtures("browser")
def test_a_sample_of_the_corpus_is_processed_as_listed(tmp_path: Path, context: Contexts) -> None:
    """Some, chosen by a seed."""
    judge_all(sample(int(os.environ.get("CORPUS_SEED", "11")), _COUNT), tmp_path, context)


@pytest.mark.soak
@pytest.mark.skipif(not _ONLY, reason="CORPUS_ONLY names the videos")
@pytest.mark.parametrize("binary", _BINARIES)
def test_those_named(binary: str, tmp_path: Path, context: Contexts) -> None:
    """Those that one wants to look at."""
    names = set(_ONLY.split(","))
    chosen = [odd for odd in CORPUS if odd.name in names]
    assert {odd.name for odd in chosen} == names
    judge_all(chosen, tmp_path, context, binaries=(binary,))


@pytest.mark.soak
@pytest.mark.skipif(bool(_ONLY), reason="CORPUS_ONLY names others")
@pytest.mark.parametrize("first", range(0, len(CORPUS), _BATCH))
@pytest.mark.usefixtures("browser")
def test_the_whole_corpus_is_processed_as_listed(first: int, tmp_path: Path, context: Contexts) -> None:
    """All, a batch at a time."""
    judge_all(CORPUS[first : first + _BATCH], tmp_path, context)


def judge_all(
    odds: Sequence[OddFile], tmp_path: Path, context: Contexts, *, binaries: Sequence[str] = _BINARIES
) -> None:
    """Make everything of each, look at it, then watch all in one browser; every fault is told."""
    faults: list[str] = []
    items: list[Item] = []
    shown: dict[str, tuple[OddFile, list[bytes]]] = {}
    for number, odd in enumerate(odds):
        source = odd.make(tmp_path)
        reference = pictures(source)
        for step, result in ((Mp4(), "video.mp4"), (Hls(), "hls/index.m3u8")):
            output = tmp_path / f"{number}-{step.name}"
            output.mkdir()
            given = context(source, output=output, ffmpeg=ffmpeg.find(binaries[number % len(binaries)]))
            name = f"{odd.name} {step.name}"
            try:
                step.run(given)
            except StepError as error:
                faults += refusal(name, odd, error)
                continue
            faults += [f"{name}: {fault}" for fault in look(odd, output / result, reference)]
            end = odd.whole if not odd.damage else 1.0
            items.append(Item(name, output / result, [end * share for share in (0.7, 0.2, 0.5)]))
            shown[name] = (odd, reference)
    for seen in watch(items, tmp_path, patience=60):
        faults += [f"{seen.name} in Chromium: {fault}" for fault in seen_faults(seen, *shown[seen.name])]
    assert faults == []


def refusal(name: str, odd: OddFile, error: StepError) -> list[str]:
    """A failure must be one that the file deserves, and have a sentence that fits."""
    if not odd.may_fail or error.code not in _REASONS or error.code not in messages.CODES:
        return [f"{name}: {error.code}"]
    return []


def look(odd: OddFile, made: Path, reference: list[bytes]) -> list[str]:
    """What FFmpeg finds wrong with a result: its length, its sound, its pictures."""
    if odd.damage:
        return [] if pictures(made) else ["nothing can be decoded"]
    faults = []
    frame = 1 / min(60.0, rate(odd))
    length = media.judge(made).duration if made.suffix == ".mp4" else hls_length(made)
    if abs(length - odd.whole) > max(frame, 0.1):
        faults.append(f"{length} s instead of {odd.whole} s")
    if odd.has_sound and (odd.sound_seconds or odd.seconds) > 1 and abs(media.loudest(made) - 440) > 20:
        faults.append("the sound is another")
    found = pictures(made)
    worst = max((distance(a, b) for a, b in zip(found, reference, strict=False)), default=0.0)
    if worst > _LIKE or len(found) < len(reference) - 1:
        faults.append(f"{len(found)} of {len(reference)} pictures, which differ by up to {worst:.0f}")
    return faults


def seen_faults(seen: Watched, odd: OddFile, reference: list[bytes]) -> list[str]:
    """What a viewer would complain of."""
    if seen.error:
        return [seen.error]
    faults = []
    if not odd.damage:
        if abs(seen.duration - odd.whole) > max(1 / min(60.0, rate(odd)), 0.1):
            faults.append(f"{seen.duration} s instead of {odd.whole} s")
        for one in seen.seeks:
            at = min(int(one.to * _PACE), len(reference) - 1)
            near = reference[max(0, at - 1) : at + 2]
            if near and min(distance(bytes(one.picture), other) for other in near) > _SHOWN:
                faults.append(f"another picture at {one.to} s")
    return faults


def rate(odd: OddFile) -> float:
    """Pictures a second."""
    count, _, base = odd.rate.partition("/")
    return float(count) / float(base or 1)


def hls_length(master: Path) -> float:
    """Seconds of the longest playlist."""
    lengths = []
    for playlist in master.parent.glob("*/index.m3u8"):
        lines = playlist.read_text().splitlines()
        lengths.append(sum(float(line[8:].rstrip(",")) for line in lines if line.startswith("#EXTINF:")))
    return max(lengths)


def pictures(path: Path) -> list[bytes]:
    """16 x 12 values of luma, five times a second, as FFmpeg decodes them; none if it cannot.

    The luma of the colours that are shown, as the browser's are measured, not that of the file: green is darker in
    BT.601 than in BT.709.
    """
    chain = f"fps={_PACE}:start_time=0,scale=16:12:flags=area,format=rgb24"
    done = subprocess.run(
        [*("ffmpeg", "-nostdin", "-v", "quiet", "-i", str(path), "-map", "0:v:0", "-vf", chain), "-f", "rawvideo", "-"],
        capture_output=True,
        check=False,
        timeout=120,
    )
    raw = done.stdout
    luma = bytes(
        round(0.2126 * red + 0.7152 * green + 0.0722 * blue)
        for red, green, blue in zip(raw[::3], raw[1::3], raw[2::3], strict=True)
    )
    return [luma[at : at + 192] for at in range(0, len(luma) - 191, 192)]


def distance(one: bytes, other: bytes) -> float:
    """How much two pictures differ on average."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)
