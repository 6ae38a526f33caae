"""Plans: which sizes, what may be copied, and the lines for FFmpeg and for players, without any FFmpeg."""

from dataclasses import replace
from pathlib import Path

import pytest

from server.pipeline.media import ffmpeg_command, hls_playlist, renditions, sei_user_data
from server.pipeline.media.hls_playlist import Media, Variant
from server.pipeline.media.renditions import Audio, Rendition, Source

SOUND = Audio(index=1, codec="aac", profile="LC", channels=2, sample_rate=44100)
SOURCE = Source(
    index=0,
    width=1920,
    height=1080,
    codec="h264",
    profile="High",
    level=40,
    pixel_format="yuv420p",
    frame_rate=25.0,
    is_variable=False,
    is_interlaced=False,
    is_late=False,
    rotation=0,
    hdr=None,
    duration=60.0,
    start=0.0,
    packets=4000,
    audio=SOUND,
)


def shown(width: int, height: int) -> Source:
    return replace(SOURCE, width=width, height=height)


@pytest.mark.parametrize(
    ("width", "height", "most", "expected"),
    [
        (1920, 1080, 1080, ["426x240", "640x360", "852x480", "1280x720", "1920x1080"]),
        (1920, 1080, 720, ["426x240", "640x360", "852x480", "1280x720"]),
        (1080, 1920, 720, ["240x426", "360x640", "480x852", "720x1280"]),
        (3840, 2160, 2160, ["426x240", "640x360", "852x480", "1280x720", "1920x1080", "2560x1440", "3840x2160"]),
        (3840, 2160, 1080, ["426x240", "640x360", "852x480", "1280x720", "1920x1080"]),
        (320, 240, 1080, ["320x240"]),
        (160, 120, 1080, ["160x120"]),
        # Hardly smaller sizes are left out, and an unusual size of the source is the largest one.
        (1024, 544, 1080, ["450x240", "676x360", "1024x544"]),
        (432, 288, 1080, ["432x288"]),
        (321, 241, 1080, ["320x240"]),
        (1, 1, 1080, ["2x2"]),
        # A strip: no edge beyond what decoders take.
        (8192, 300, 1080, ["4096x150"]),
        (1920, 1080, 144, ["256x144"]),
    ],
)
def test_renditions_go_from_small_to_the_size_of_the_source(
    width: int, height: int, most: int, expected: list[str]
) -> None:
    """From small to large, even, never larger than the source or the setting, upright ones by their width."""
    found = renditions.ladder(shown(width, height), most)
    assert [f"{one.width}x{one.height}" for one in found] == expected
    assert [one.max_rate for one in found] == sorted(one.max_rate for one in found)
    assert len({one.name for one in found}) == len(found)
    assert renditions.single(shown(width, height), most) == found[-1]


def test_no_rendition_is_enlarged_or_distorted() -> None:
    """For any size: even edges, at most those of the source (but for the least there can be), of the same shape."""
    for width in range(1, 700, 7):
        for height in range(20, 700, 11):
            for one in renditions.ladder(shown(width, height), 480):
                assert one.width % 2 == one.height % 2 == 0
                assert 2 <= one.width <= max(2, width)
                assert 2 <= one.height <= max(2, height)
                factor = int(one.name[:-1]) / min(width, height)
                assert abs(one.width - width * factor) < 2
                assert abs(one.height - height * factor) < 2


@pytest.mark.parametrize(
    ("changes", "copied"),
    [
        ({}, True),
        ({"profile": "Constrained Baseline"}, True),
        ({"pixel_format": "yuvj420p"}, True),
        ({"rotation": 90, "width": 1080, "height": 1920}, True),
        ({"is_variable": True}, True),
        ({"audio": None}, True),
        ({"frame_rate": None}, True),
        ({"codec": "hevc"}, False),
        ({"profile": "High 10"}, False),
        ({"profile": None}, False),
        ({"pixel_format": "yuv422p"}, False),
        ({"level": 62}, False),
        ({"level": None}, False),
        ({"width": 3840, "height": 2160}, False),
        ({"is_interlaced": True}, False),
        ({"hdr": "hlg"}, False),
        ({"rotation": None}, False),
        ({"frame_rate": 120.0}, False),
    ],
)
def test_only_h264_for_every_browser_is_copied(changes: dict[str, object], copied: bool) -> None:
    """Only what every browser and phone decodes, and within the setting."""
    assert renditions.can_copy_video(replace(SOURCE, **changes), 1080) == copied  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "copied"),
    [
        ({}, True),
        ({"profile": "HE-AAC"}, True),
        ({"channels": 6}, True),
        ({"channels": 8}, False),
        ({"codec": "mp3"}, False),
        ({"codec": "opus"}, False),
        ({"profile": "Main"}, False),
        ({"sample_rate": 96000}, False),
    ],
)
def test_only_usual_aac_is_copied(changes: dict[str, object], copied: bool) -> None:
    """AAC of the usual kinds."""
    assert renditions.can_copy_audio(replace(SOUND, **changes)) == copied  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate", "made"),
    [(None, None), (25.0, 25.0), (60.0, 60.0), (59.94, 59.94), (120.0, 60.0), (90.0, 45.0), (240.0, 60.0)],
)
def test_frame_rates_are_at_most_60(rate: float | None, made: float | None) -> None:
    """At most 60 a second, by leaving out whole frames."""
    assert replace(SOURCE, frame_rate=rate).made_rate == made


@pytest.mark.parametrize(
    ("width", "height", "rate", "level"),
    [
        (320, 240, 25.0, 30),
        (1280, 720, 25.0, 31),
        (1280, 720, 60.0, 32),
        (1920, 1080, 30.0, 40),
        (1920, 1080, 60.0, 42),
        (1920, 1080, None, 42),
        (3840, 2160, 30.0, 51),
        (3840, 2160, 60.0, 52),
        (7680, 4320, 30.0, 60),
        (4096, 16, 25.0, 40),
    ],
)
def test_the_h264_level_is_the_lowest_that_fits(width: int, height: int, rate: float | None, level: int) -> None:
    """The lowest level of ITU-T H.264 table A-1 that holds the size and the rate."""
    assert renditions.single(replace(shown(width, height), frame_rate=rate), 4320).level == level


def test_the_bit_rate_follows_size_and_frame_rate() -> None:
    """A usual figure for each usual size, and more for 60 frames a second."""
    rates = {one.name: one.max_rate // 1000 for one in renditions.ladder(shown(3840, 2160), 2160)}
    assert rates == {
        "240p": 520, "360p": 960, "480p": 1480, "720p": 2720, "1080p": 5000, "1440p": 7700, "2160p": 14140
    }  # fmt: skip
    assert renditions.single(replace(SOURCE, frame_rate=60.0), 1080).max_rate == 7_000_000


def test_the_size_of_a_result_is_bounded() -> None:
    """A small file cannot become a large one, whatever duration it claims, and a usual one has room."""
    made = renditions.ladder(SOURCE, 1080)
    year = 366 * 86400.0
    assert renditions.encoded_bytes(made, year, 1000) < 300 << 20
    assert renditions.encoded_bytes(made, None, 1000) < 300 << 20
    assert renditions.encoded_bytes(made, 60.0, 1 << 30) < 500 << 20
    hour = sum(one.max_rate for one in made) * 3600 / 8
    assert renditions.encoded_bytes(made, 3600.0, 1 << 30) > hour
    assert 1 << 30 < renditions.copied_bytes(1 << 30) < 2 << 30


def test_the_ffmpeg_command_limits_what_is_opened() -> None:
    """The demuxer, files only, a bound on pixels; and of QuickTime that tracks stay in their file."""
    given = ffmpeg_command.Input("/usr/bin/ffmpeg", "/data/-i:a.mp4", "mov", 64, 2)
    line = " ".join(ffmpeg_command.beginning(given))
    for part in ("-nostdin", "-protocol_whitelist file -f mov", "-max_pixels 64", "-i file:/data/-i:a.mp4"):
        assert part in line
    assert "-enable_drefs 0 -use_absolute_path 0" in line
    assert line.index("-max_pixels") < line.index("-i file:")


def test_one_decoding_serves_all_renditions() -> None:
    """The filters split once; a high dynamic range is mapped before, at the largest size."""
    made = renditions.ladder(shown(640, 360), 1080)
    option, graph = ffmpeg_command.graph(replace(SOURCE, hdr="hlg"), made, "mapped")
    assert option == "-filter_complex"
    assert graph.count("[0:0]") == 1
    assert graph.count("tonemap=tonemap") == 1
    assert graph.index("scale=640:360") < graph.index("tonemap") < graph.index("split=2[s0][s1]")
    assert graph.endswith("[s0]scale=426:240:flags=bicubic,setsar=1[v0];[s1]scale=640:360:flags=bicubic,setsar=1[v1]")


@pytest.mark.parametrize(
    ("changes", "filters", "none"),
    [
        ({"is_interlaced": True}, "bwdif", "select"),
        ({"is_variable": True}, "select", "bwdif"),
        ({"frame_rate": 120.0}, "select", "fps="),
        ({"is_late": True}, "fps=25.0:start_time=0", "select"),
        ({"pixel_format": "bgr0"}, "out_color_matrix=bt709", "select"),
        ({}, "scale=1920:1080", "bt709"),
    ],
)
def test_each_filter_is_used_where_it_is_needed(changes: dict[str, object], filters: str, none: str) -> None:
    """Each only where it is needed."""
    source = replace(SOURCE, **changes)  # type: ignore[arg-type]
    graph = ffmpeg_command.graph(source, [renditions.single(source, 1080)], "kept")[1]
    assert filters in graph
    assert none not in graph


def test_the_hls_master_playlist_follows_rfc_8216() -> None:
    """Attributes as RFC 8216 section 4.3.4 has them; rates of pictures and sound together."""
    made = [
        Variant("240p", 426, 240, "avc1.64001e", 25.0, Media(500, 400, ())),
        Variant("1080p", 1920, 1080, "avc1.640028", 25.0, Media(5000, 4000, ())),
        Variant("480p", 852, 480, "avc1.64001e", 25.0, Media(1500, 1400, ())),
    ]
    sound = 'CODECS="{},mp4a.40.2",FRAME-RATE=25.000,AUDIO="audio"'
    small, large = sound.format("avc1.64001e"), sound.format("avc1.640028")
    place = 'GROUP-ID="audio",URI="audio/index.m3u8"'
    assert hls_playlist.master(made, Media(130, 120, ())).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "",
        f'#EXT-X-MEDIA:TYPE=AUDIO,{place},NAME="Audio",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2"',
        "",
        f"#EXT-X-STREAM-INF:BANDWIDTH=1630,AVERAGE-BANDWIDTH=1520,RESOLUTION=852x480,{small}",
        "480p/index.m3u8",
        f"#EXT-X-STREAM-INF:BANDWIDTH=630,AVERAGE-BANDWIDTH=520,RESOLUTION=426x240,{small}",
        "240p/index.m3u8",
        f"#EXT-X-STREAM-INF:BANDWIDTH=5130,AVERAGE-BANDWIDTH=4120,RESOLUTION=1920x1080,{large}",
        "1080p/index.m3u8",
    ]
    silent = hls_playlist.master([replace(made[0], frame_rate=None)], None)
    assert "AUDIO" not in silent.replace("AUDIO-", "")
    assert 'RESOLUTION=426x240,CODECS="avc1.64001e"\n' in silent


PLAYLIST = """#EXTM3U
#EXT-X-TARGETDURATION:4
#EXTINF:4.000000,
segment-00001.m4s
#EXTINF:0.040000,
segment-00002.m4s
#EXT-X-ENDLIST
"""


def test_the_segment_lengths_of_a_playlist_are_corrected(tmp_path: Path) -> None:
    """The last length is that of the segment itself, the announced one holds all, a short one makes no peak."""
    (tmp_path / "index.m3u8").write_text(PLAYLIST)
    (tmp_path / "segment-00001.m4s").write_bytes(bytes(4000))
    (tmp_path / "segment-00002.m4s").write_bytes(bytes(1000))
    found = hls_playlist.measure(tmp_path, lambda path: 7.6 if path.name == "segment-00002.m4s" else 0.0)
    assert found == Media(8000, round(40_000 / 11.6), ("segment-00001.m4s", "segment-00002.m4s"))
    text = (tmp_path / "index.m3u8").read_text()
    assert "#EXT-X-TARGETDURATION:8\n" in text
    assert "#EXTINF:7.600000,\nsegment-00002.m4s\n" in text
    assert hls_playlist.measure(tmp_path, lambda path: 1.0).peak == 8000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#EXTM3U\n#EXT-X-ENDLIST\n",
        PLAYLIST.replace("#EXT-X-ENDLIST\n", ""),
        PLAYLIST.replace("segment-00001.m4s", "../a.m4s"),
        PLAYLIST.replace("#EXTINF:4.000000,\n", ""),
    ],
)
def test_an_incomplete_playlist_is_refused(text: str, tmp_path: Path) -> None:
    """It is refused, whatever FFmpeg said of it."""
    (tmp_path / "index.m3u8").write_text(text)
    for name in ("segment-00001.m4s", "segment-00002.m4s"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=r"segment|playlist|something"):
        hls_playlist.measure(tmp_path, lambda path: 1.0)


def test_the_codec_is_read_from_the_initialization_segment() -> None:
    """Profile, constraints and level are those of the initialization segment."""
    assert hls_playlist.avc_codec(b"....avcC\x01\x64\x00\x1f\xff") == "avc1.64001f"
    with pytest.raises(ValueError, match="not found"):
        hls_playlist.avc_codec(b"no video")


def test_rendition_folders_have_public_names() -> None:
    """The folder of a size is a name that results may have."""
    for one in renditions.ladder(shown(3840, 2160), 2160):
        assert isinstance(one, Rendition)
        assert one.name.isalnum()


def message(kind: int, content: bytes) -> bytes:
    """One message of SEI."""
    return bytes([*[255] * (kind // 255), kind % 255, *[255] * (len(content) // 255), len(content) % 255]) + content


X264 = bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef") + b"x264 - core 164"
PICTURE = b"\x65picture"


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([PICTURE], False),
        ([b"\x09\xf0", b"\x67sps", b"\x68pps", PICTURE], False),
        ([b"\x06" + message(5, X264 + b"x" * 600) + b"\x80", PICTURE], False),
        ([b"\x06" + message(1, b"time") + message(6, b"r") + b"\x80", PICTURE], False),
        ([b"\x06" + message(4, b"\xb5subtitles") + b"\x80", PICTURE], False),
        ([b"\x06" + message(4, b"\x26other") + b"\x80", PICTURE], True),
        ([b"\x06" + message(5, bytes(16) + b"+50.1+014.4/") + b"\x80", PICTURE], True),
        ([b"\x06" + message(1, b"time") + message(5, b"x" * 300) + b"\x80", PICTURE], True),
        ([b"\x06" + message(5, X264) + b"\x80", b"\x06" + message(5, b"place") + b"\x80", PICTURE], True),
        ([PICTURE, b"\x06" + message(5, b"place") + b"\x80"], True),
        # What cannot be understood might be anything.
        ([b"\x06\x01\xf0short", PICTURE], True),
    ],
)
def test_user_data_of_the_camera_is_recognised_as_a_remark(parts: list[bytes], found: bool) -> None:
    """User data of anybody but the encoder is a remark; times, subtitles and the encoder's own settings are none."""
    for width in (2, 4):
        unit = b"".join(len(part).to_bytes(width, "big") + part for part in parts)
        assert sei_user_data.has_remark(memoryview(unit), width) == found


def test_space_for_the_index_is_reserved_in_large_files() -> None:
    """Only of large files whose packets are counted, and enough for every table of the index."""
    assert renditions.index_bytes(SOURCE, 1 << 20) is None
    assert renditions.index_bytes(replace(SOURCE, packets=None), 1 << 30) is None
    assert renditions.index_bytes(SOURCE, 1 << 30) == 4000 * 32 + (64 << 10)
