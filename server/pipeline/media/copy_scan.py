"""May the pictures of an H.264 video be copied, and its sound? Every packet is looked at, and many are decoded.

Rule: no more tolerant than a browser that seeks. A player may begin at every picture that is marked as a key frame, so
each of them must be an IDR picture, and the first picture too; what follows one in the stream is shown after it. What
cannot be understood is not copied, and one packet of sound that cannot be decoded ends a browser's playing. The scan
runs beside the FFmpeg that copies meanwhile.
"""

import sys
import threading
from typing import Any

import av
import av.error
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from server.pipeline.media import h264, sei_user_data
from server.pipeline.media import source as sources
from server.pipeline.media.decoders import DECODERS, PICTURE_DECODERS

_PIXELS, _BYTES = 250_000_000, 12 << 20
"""What is decoded at most, about half a second of a core: all of a short video, else whole groups of pictures at even
distances. Decoding all of a long one would take longer than the rest of a copy."""

_SOUNDS = 30_000
"""Packets of sound that are decoded in any case, up to a second of a core: all of eleven minutes. Later ones are
decoded where they look damaged."""

_FILLS = (bytes(24), b"\xff" * 24)
"""What takes the place of lost bytes, and is rare in sound."""


class CopyScan(threading.Thread):
    """Looks through the pictures (stream `index`) of a file from its start, and through a stream of `sound` that is to
    be copied. After `join`: `can_copy` the pictures, `can_copy_sound`, and `has_remarks` of the camera that a copy must
    leave out."""

    def __init__(self, path: str, demuxer: str, index: int, max_pixels: int, *, sound: int | None = None) -> None:
        super().__init__(name="copy-scan", daemon=True)
        self._path = path
        self._demuxer = demuxer
        self._index = index
        self._max_pixels = max_pixels
        self._sound = sound
        self.can_copy = False
        self.can_copy_sound = False
        self.has_remarks = True

    def run(self) -> None:
        """Sets the results that are read after `join`."""
        try:
            opened = sources.open_container(self._path, self._demuxer, self._max_pixels, decoders=PICTURE_DECODERS)
            with opened as container:
                stream = container.streams.video[0]
                for one in container.streams.video:
                    stream = one if one.index == self._index else stream
                found = _Findings(stream, container.size, self._max_pixels)
                sounds = [one for one in container.streams.audio if one.index == self._sound]
                heard = [_Sound(one) for one in sounds]
                for packet in container.demux([stream, *sounds]):
                    if packet.size:
                        (found if packet.stream_index == stream.index else heard[0]).add(packet)
                found.end()
                self.can_copy, self.has_remarks = True, found.has_remarks
                self.can_copy_sound = any(one.is_whole for one in heard)
        except (av.error.FFmpegError, ValueError, IndexError, MemoryError):
            self.can_copy = False


class _Findings:
    """The state after each packet; raises `ValueError` or the decoder's error if the stream must not be copied."""

    def __init__(self, stream: VideoStream, size: int, max_pixels: int) -> None:
        self._description = h264.describe(bytes(stream.codec_context.extradata or b""))
        self._decoder = _Decoder(stream, size, max_pixels)
        self._is_delayed = bool(stream.codec_context.has_b_frames)
        self._last_dts: int | None = None
        self._last_idr: int | None = None
        self._last_shown: int | None = None
        self._is_reordered = False
        self._has_b = False
        self._lacks_times = False
        self._first_kept: int | None = None
        self._last_left_out: int | None = None
        self._number = 0
        # Without lengths before the units, a search for remarks would cost as much as removing them.
        self.has_remarks = self._description.width == 0

    def add(self, packet: "Packet[Any]") -> None:
        """Read one packet."""
        data = bytes(packet)
        picture = h264.read(data, self._description.width)
        if any(one not in self._description.sets for one in picture.sets):
            raise ValueError("the parameters change on the way, and an MP4 has room for one set")
        if not picture.is_idr and (packet.is_keyframe or self._number == 0):
            raise ValueError("a player may begin at a picture that needs others")
        self._has_b |= picture.has_b
        self._look_at_times(packet, picture)
        width = self._description.width
        self.has_remarks = self.has_remarks or sei_user_data.has_remark(memoryview(data), width)
        self._decoder.add(packet, is_idr=picture.is_idr)
        self._number += 1

    def end(self) -> None:
        """Check the stream as a whole."""
        if self._number == 0:
            raise ValueError("there is no picture at all")
        # An edit list may leave out the beginning, which a copy can express, too; but nothing later.
        if self._last_left_out is not None and (self._first_kept is None or self._last_left_out > self._first_kept):
            raise ValueError("an edit list leaves something out on the way")
        # AVI and some others have no presentation times: those that FFmpeg makes up are right without B pictures only.
        if self._has_b and (self._lacks_times or (self._is_delayed and not self._is_reordered)):
            raise ValueError("the container does not say when the pictures are shown")
        self._decoder.flush()

    def _look_at_times(self, packet: "Packet[VideoStream]", picture: h264.Picture) -> None:
        dts = packet.dts
        if dts is not None:
            if self._last_dts is not None and dts <= self._last_dts:
                raise ValueError("packets are not in the order of their decoding")
            self._last_dts = dts
        shown = dts if packet.pts is None else packet.pts
        if shown is None:
            raise ValueError("a packet has no time")
        self._lacks_times |= packet.pts is None
        if picture.is_idr:
            self._last_idr = shown
        elif self._last_idr is not None and shown < self._last_idr:
            raise ValueError("a picture is shown before the key frame that it follows")
        self._is_reordered |= self._last_shown is not None and shown < self._last_shown
        self._last_shown = shown
        if packet.is_discard:
            self._last_left_out = shown if self._last_left_out is None else max(shown, self._last_left_out)
        else:
            self._first_kept = shown if self._first_kept is None else min(shown, self._first_kept)


class _Sound:
    """Decodes packets of sound; after the first damage no more."""

    def __init__(self, stream: AudioStream) -> None:
        self._context = stream.codec_context
        self._context.options = {"err_detect": "explode", "codec_whitelist": DECODERS}
        self._is_damaged = False
        self._count = 0

    @property
    def is_whole(self) -> bool:
        """Whether there is sound, and all that was decoded could be."""
        return self._count > 0 and not self._is_damaged

    def add(self, packet: "Packet[Any]") -> None:
        """Read one packet."""
        self._count += 1
        if self._is_damaged or (self._count > _SOUNDS and not _looks_damaged(packet)):
            return
        try:
            packet.decode()
        except av.error.FFmpegError:
            self._is_damaged = True


def _looks_damaged(packet: "Packet[Any]") -> bool:
    data = bytes(packet)
    return packet.is_corrupt or any(fill in data for fill in _FILLS)


class _Decoder:
    """Decodes whole groups of pictures, the first and every nth after it. Any damage raises."""

    def __init__(self, stream: VideoStream, size: int, max_pixels: int) -> None:
        self._context = stream.codec_context
        self._context.thread_count = 2
        self._context.thread_type = "AUTO"
        self._context.options = {"max_pixels": str(max_pixels), "err_detect": "explode", "skip_loop_filter": "all"}
        self._pixels = max(1, stream.width * stream.height)
        self._left_pixels, self._left_bytes = _PIXELS, _BYTES
        self._stride = max(1, -(-_frames(stream) * self._pixels // _PIXELS), -(-size // _BYTES))
        self._group = -1
        self._is_on = False

    def add(self, packet: "Packet[VideoStream]", *, is_idr: bool) -> None:
        """Decode a packet, if its group is one of those."""
        if is_idr:
            self._group += 1
            wanted = self._group % self._stride == 0
            if self._is_on and not wanted:
                self.flush()
                self._context.flush_buffers()
            self._is_on = wanted
        if self._is_on:
            self._left_pixels -= self._pixels
            self._left_bytes -= packet.size
            self._check(packet.decode())
            if min(self._left_pixels, self._left_bytes) <= 0:
                self.flush()
                self._stride = sys.maxsize  # no more

    def flush(self) -> None:
        """Decode the frames that the decoder still holds."""
        if self._group >= 0 and self._is_on:
            self._check(self._context.decode(None))
            self._is_on = False

    @staticmethod
    def _check(frames: list[VideoFrame]) -> None:
        if any(frame.is_corrupt for frame in frames):
            raise ValueError("a picture is damaged")


def _frames(stream: VideoStream) -> int:
    """The number of frames that the file declares."""
    if stream.frames:
        return stream.frames
    if stream.duration and stream.time_base and stream.average_rate:
        return int(stream.duration * stream.time_base * stream.average_rate)
    return 0
