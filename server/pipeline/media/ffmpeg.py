"""Which FFmpeg is used.

Rule: the choice is made once, at the start, and is an absolute path from then on; a server without FFmpeg does
not start, rather than fail every video later.
"""

import os
import shutil
from pathlib import Path

from server.errors import StartError


def find(choice: str) -> str:
    """The absolute path of the FFmpeg that the setting `ffmpeg` chooses.

    `auto` is the system's, or else the one of the wheel imageio-ffmpeg; `system`, `bundled` or a path allow no other.
    Raises `StartError` when it does not exist.
    """
    if choice == "system":
        return _system() or _absent("there is no ffmpeg on the PATH; install it (apt install ffmpeg)")
    if choice == "bundled":
        return _bundled() or _absent("the wheel has none for this machine; pip install imageio-ffmpeg")
    if choice == "auto":
        return _system() or _bundled() or _absent("install it (apt install ffmpeg, or pip install imageio-ffmpeg)")
    path = Path(choice).expanduser().absolute()
    if not path.is_file() or not os.access(path, os.X_OK):
        _absent(f"{str(path)!r} is no program; choose auto, system, bundled or the path of one")
    return str(path)


def _absent(what_to_do: str) -> str:
    raise StartError(f"FFmpeg was not found: {what_to_do}. The setting is VIDEODOCK_FFMPEG.")


def _system() -> str | None:
    found = shutil.which("ffmpeg")
    # An entry of the PATH may be relative, and a child process has another working directory.
    return str(Path(found).absolute()) if found else None


def _bundled() -> str | None:
    try:
        import imageio_ffmpeg

        found = Path(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None
    # Without a binary for this platform the wheel returns a bare "ffmpeg", which is the system's.
    return str(found) if found.is_absolute() and found.is_file() else None
