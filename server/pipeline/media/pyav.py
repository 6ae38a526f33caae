"""PyAV, where reading a value of it is not safe or not tolerant. For child processes only.

Rule: a value that a decoder reports and PyAV does not know is skipped, never an error of the file; and a value whose
reading corrupts memory is read once, in the one way that does not.
"""

import ctypes
from typing import Any, cast

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Stream
from av.video.frame import VideoFrame

_GENPTS = 1  # of AVFormatContext.flags


def _unknown(kind: type[SideDataType], value: object) -> SideDataType:
    made: Any = object.__new__(kind)
    made._name_ = f"UNKNOWN_{value}"
    made._value_ = value
    return cast("SideDataType", made)


# FFmpeg knows more kinds of side data than PyAV has names for (spatial video has four of them), and one without a name
# makes all side data of the frame unreadable.
setattr(SideDataType, "_missing_", classmethod(_unknown))  # noqa: B010  # no annotation fits a patch


def channels(stream: AudioStream) -> int:
    """How many channels the sound has; 0 if that is not known.

    `codec_context.channels` makes an `AudioLayout`, which shares the decoder's table of channels when these are in an
    order of their own, and frees it when it is released: the second one corrupts the heap (PyAV 18.1). So the layout
    is never released.
    """
    layout = stream.codec_context.layout
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return layout.nb_channels


def invent_no_times(container: InputContainer) -> None:
    """Leave packets without a time of showing (AVI has none) as they are, where pictures come in the order of showing.

    PyAV has these times made up (`AVFMT_FLAG_GENPTS`), and for H.264 each is that of the next picture, so that a whole
    video seems to come a frame too late. Pictures out of order need them: the times of decoding are further off.
    """
    if not any(getattr(stream.codec_context, "has_b_frames", False) for stream in container.streams.video):
        container.flags &= ~_GENPTS


def tag(stream: Stream) -> str:
    """The four letters of the codec in the container; others than ASCII, which PyAV refuses, as `?`."""
    try:
        return str(cast("Any", stream.codec_context).codec_tag)
    except UnicodeDecodeError:
        return "????"


def display_matrix(frame: VideoFrame) -> bytes | None:
    """The matrix of 36 bytes by which a player turns the frame; None without one."""
    for data in cast("Any", frame.side_data):
        if data.type is SideDataType.DISPLAYMATRIX:
            return bytes(data)
    return None


def decoder(stream: Stream) -> str | None:
    """The codec's name (not its decoder's), such as `h264`; None if there is no decoder for it."""
    # PyAV's annotations deny it, but without a decoder `codec_context` is None.
    codec = getattr(stream.codec_context, "codec", None)
    return codec.canonical_name if codec is not None else None
