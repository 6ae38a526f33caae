"""Shared by the jobs `mp4` and `hls`: running FFmpeg with bounds and progress. For the child process only.

Rule: whatever a video claims, its result has a bound in bytes, which depends on the uploaded bytes; and the reported
percent never falls, though a second attempt begins anew.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from server.errors import StepError
from server.pipeline.jobs import PROGRAM
from server.pipeline.media import boxes, ffmpeg_facts, programs, source, track_spans
from server.pipeline.media.ffmpeg_command import Input, Tones
from server.pipeline.media.programs import Outcome
from server.pipeline.media.renditions import Audio, Source
from server.pipeline.media.track_spans import Span

_WEIGHED = 2.0  # seconds between two checks of the output's size, at least,
_WEIGHING = 0.02  # and the share of time that checking thousands of segments may take
_LARGE = 4096 * 2304  # pixels shown; beyond, decoding in parallel would take gigabytes
_TRACKS = 3  # of sound that are tried
_MAPPED_CHANNELS = 8  # for more, FFmpeg guesses the layout, and leaves out some
_DONE = 97  # percent, when FFmpeg has ended: the output is still to be verified


class DiskFullError(Exception):
    """The disk is full. The job reports it as such, since the video is not to blame."""


def _source(arguments: Mapping[str, Any]) -> Source:
    if arguments.get("by") == PROGRAM:
        return ffmpeg_facts.source(arguments)
    return source.read(arguments["path"], arguments["demuxer"], arguments["max_pixels"], arguments["facts"])


class Work:
    """One transcode: its parameters and its progress."""

    def __init__(self, arguments: Mapping[str, Any], report: Callable[[int], None]) -> None:
        self.output = Path(arguments["output"])
        self.size = int(arguments["size"])
        self.max_edge = int(arguments["max_edge"])
        self.preset = str(arguments["preset"])
        self.source: Source = _source(arguments)
        self.avoids_library = arguments.get("by") == PROGRAM
        is_large = self.source.width * self.source.height > _LARGE
        self.threads = int(arguments["threads"])
        self.max_pixels = int(arguments["max_pixels"])
        self.input = Input(
            ffmpeg=arguments["ffmpeg"],
            path=arguments["path"],
            demuxer=arguments["demuxer"],
            max_pixels=self.max_pixels,
            threads=min(2, self.threads) if is_large else self.threads,
        )
        self._deadline = time.monotonic() + arguments["seconds"]
        self._report = report
        self._reported = 0

    def ffmpeg(self, command: Sequence[str], most: int) -> Outcome:
        """Run it in the output directory, where it may write `most` bytes in all.

        Raises `StepError` transcode_too_large, and `DiskFullError`.
        """
        due = time.monotonic() + _WEIGHED

        def look(made: float | None) -> None:
            nonlocal due
            self._report_percent(made)
            start = time.monotonic()
            if start > due:
                self._weigh(most)
                end = time.monotonic()
                due = end + max(_WEIGHED, (end - start) / _WEIGHING)

        outcome = programs.follow(command, self._deadline - time.monotonic(), folder=str(self.output), look=look)
        if outcome.disk_is_full:
            raise DiskFullError
        if outcome.wrote_too_much:
            raise StepError("transcode_too_large")
        self._weigh(most)
        if outcome.succeeded and "-filter_complex" in command:
            for made in self.output.rglob("*.mp4"):
                boxes.make_upright(made)
        return outcome

    @cached_property
    def spans(self) -> Mapping[int, Span]:
        """The begin and end of the pictures and the tracks of sound; tracks without a packet are missing.

        Empty where the library must not be used.
        """
        if self.avoids_library:
            return {}
        found = self.source
        sounds = [one.index for one in (found.audio, *found.other_audio) if one]
        return track_spans.measure(self.input.path, self.input.demuxer, self.max_pixels, [found.index, *sounds])

    def tries(self) -> Iterator[tuple[Source, Tones]]:
        """What to encode, and how to treat the colours; the next is tried when FFmpeg failed with the last."""
        all_tones: tuple[Tones, ...] = ("kept",) if self.source.hdr is None else ("mapped", "cut")
        for audio in self.sounds():
            for tones in all_tones:
                yield replace(self.source, audio=audio), tones

    def remarks(self, made: Source) -> list[str]:
        """Codes that the owner should know about the sound of the result."""
        if made.audio is None:
            return ["audio_missing"] if self._audible or self.source.unknown_audio else []
        return ["audio_downmixed"] if made.audio.is_mixed else []

    @property
    def _audible(self) -> list[Audio]:
        """The tracks of sound that have a packet, the best one first."""
        found = [one for one in (self.source.audio, *self.source.other_audio) if one]
        return found if self.avoids_library else [one for one in found if one.index in self.spans]

    def sounds(self) -> Iterator[Audio | None]:
        """The choices for the sound, in order. A damaged track must not cost the pictures."""
        for audio in self._audible[:_TRACKS]:
            if audio.channels > _MAPPED_CHANNELS:
                yield replace(audio, is_mixed=True)
            yield audio
        yield None

    def _report_percent(self, made: float | None) -> None:
        if made is None or not self.source.duration:
            return
        percent = min(_DONE, int(100 * made / self.source.duration))
        if percent > self._reported:
            self._reported = percent
            self._report(percent)

    def _weigh(self, most: int) -> None:
        if sum(file.stat().st_size for file in self.output.rglob("*") if file.is_file()) > most:
            raise StepError("transcode_too_large")
