"""Playlists dressed up as videos read nothing: no other file, no network."""

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.errors import StepError
from server.pipeline.media import ffmpeg
from server.pipeline.steps.poster import Poster
from server.pipeline.steps.probe import Probe
from tests import samples
from tests.pipeline.conftest import Contexts

pytestmark = pytest.mark.turns(3)  # a step and disguised files

# What each points at: `file` is a real video, so that reading it would succeed and be seen; `url` is a listener.
DISGUISES = {
    "m3u8 of a file": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{file}\n#EXT-X-ENDLIST\n",
    "m3u8 of an address": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{url}/a.ts\n#EXT-X-ENDLIST\n",
    "ffconcat of a file": "ffconcat version 1.0\nfile '{file}'\n",
    "ffconcat of an address": "ffconcat version 1.0\nfile '{url}/a.mp4'\n",
    "sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video {port} RTP/AVP 96\r\n"
    "a=rtpmap:96 H264/90000\r\na=control:{url}/x\r\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
    'mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{url}/a.mp4</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>",
    "asx": '<asx version="3.0"><entry><ref href="{url}/a.wmv"/></entry></asx>',
    "asf reference": "[Reference]\nRef1={url}/a.wmv\nRef2={file}\n",
}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Takes connections and packets on one loopback port; the test fails if there was any."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
            packets.bind(("127.0.0.1", port))
            yield server
            heard, _, _ = select.select([server, packets], [], [], 0.05)
            assert heard == [], "somebody connected"


@pytest.mark.sampled(14)
@pytest.mark.parametrize("extension", samples.FORMATS)
@pytest.mark.parametrize("disguise", DISGUISES)
def test_the_probe_opens_no_other_file(
    disguise: str,
    extension: str,
    samples_folder: Path,
    tmp_path: Path,
    listener: socket.socket,
    context: Contexts,
) -> None:
    """PyAV finds no video in a playlist, whatever it points at."""
    source = dress(disguise, extension, samples_folder, tmp_path, listener)
    with pytest.raises(StepError) as caught:
        Probe().run(context(source))
    assert caught.value.code in ("not_playable", "no_video_stream")


@pytest.mark.parametrize("binary", ["system", "bundled"])
@pytest.mark.parametrize("extension", ["mp4", "mkv", "avi", "wmv", "flv"])
@pytest.mark.parametrize("disguise", ["m3u8 of a file", "m3u8 of an address", "ffconcat of a file", "sdp"])
def test_the_poster_opens_no_other_file(
    disguise: str,
    extension: str,
    binary: str,
    samples_folder: Path,
    tmp_path: Path,
    listener: socket.socket,
    context: Contexts,
) -> None:
    """Neither does FFmpeg, were it ever given one."""
    source = dress(disguise, extension, samples_folder, tmp_path, listener)
    given = context(source, ffmpeg=ffmpeg.find(binary))
    with pytest.raises(StepError) as caught:
        Poster().run(given)
    assert caught.value.code == "poster_failed"
    assert list(given.output.iterdir()) == []


def test_the_disguised_file_does_mislead_an_unprotected_ffmpeg(samples_folder: Path, tmp_path: Path) -> None:
    """The same script does lead FFmpeg to the other file when the content may choose: the tests above mean it."""
    secret = samples.make(samples_folder, "secret.mp4")
    script = tmp_path / "a.txt"
    script.write_text(DISGUISES["ffconcat of a file"].format(file=secret, url="", port=0))
    samples.run("-safe", "0", "-i", str(script), "-frames:v", "1", str(tmp_path / "out.jpg"))
    assert (tmp_path / "out.jpg").stat().st_size > 0


def test_a_track_in_another_file_is_not_read(samples_folder: Path, tmp_path: Path, context: Contexts) -> None:
    """A QuickTime file whose track lies in another file has no frame here."""
    # The data reference "in this file" (flags 1) becomes an alias; the bytes of its own frames are blotted out.
    data = bytearray(samples.make(samples_folder, "a.mov", audio=False).read_bytes())
    entry = data.index(b"dref") + 12
    assert bytes(data[entry + 4 : entry + 12]) in (b"url \0\0\0\1", b"alis\0\0\0\1")
    data[entry + 4 : entry + 12] = b"alis\0\0\0\0"
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    source = tmp_path / "a.mov"
    source.write_bytes(data)
    with pytest.raises(StepError) as caught:
        Probe().run(context(source))
    assert caught.value.code == "not_playable"


def dress(disguise: str, extension: str, samples_folder: Path, tmp_path: Path, listener: socket.socket) -> Path:
    """The playlist under a video's name."""
    secret = samples.make(samples_folder, f"secret.{extension}", audio=False, seconds=0.2)
    port = listener.getsockname()[1]
    source = tmp_path / f"a.{extension}"
    source.write_text(DISGUISES[disguise].format(file=secret, url=f"http://127.0.0.1:{port}", port=port))
    return source
