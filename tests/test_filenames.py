"""A name that a stranger chose is text to show, and a safe name is one that no system takes for anything else."""

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server import filenames, media_types

BIDI = "\u202e\u202d\u2066\u2069\u200f\u061c"

SAFE: dict[str, tuple[str, str]] = {
    "plain": ("clip.mp4", "clip.mp4"),
    "spaces inside": ("my clip 1.mp4", "my clip 1.mp4"),
    "many dots": ("a.b.c.mp4", "a.b.c.mp4"),
    "Chinese and emoji": ("我的视频🎬.mov", "我的视频🎬.mov"),
    "decomposed becomes composed": ("u\u0308ber.mp4", "über.mp4"),
    "a path": ("/etc/passwd.mp4", "passwd.mp4"),
    "a path upwards": ("../../../a.mp4", "a.mp4"),
    "a path of Windows": ("C:\\Users\\x\\a.mp4", "a.mp4"),
    "both slashes": ("a/b\\c.mp4", "c.mp4"),
    "ends with a slash": ("clips/", "video"),
    "a drive": ("C:a.mp4", "C_a.mp4"),
    "a stream of Windows": ("a.mp4:evil", "a.mp4_evil"),
    "characters of shells and Windows": ('<a>"b"|c?*.mp4', "_a__b__c__.mp4"),
    "line breaks": ("a\r\nContent-Type: x.mp4", "aContent-Type_ x.mp4"),
    "nul": ("a\0.mp4\0", "a.mp4"),
    "escape sequences": ("\x1b[31mred.mp4", "[31mred.mp4"),
    "C1 controls": ("a\x85\x9bb.mp4", "ab.mp4"),
    "an extension shown backwards": ("clip\u202e4pm.exe", "clip4pm.exe"),
    "all of bidi": (f"a{BIDI}b.mp4", "ab.mp4"),
    "zero widths": ("a\u200b\u200d\ufeffb.mp4", "ab.mp4"),
    "line separators": ("a\u2028\u2029b.mp4", "ab.mp4"),
    "a lone surrogate": ("a\ud83d.mp4", "a.mp4"),
    "private use, unassigned": ("a\ue000\U000e0080.mp4", "a.mp4"),
    "con": ("con.mp4", "_con.mp4"),
    "CON": ("CON", "_CON"),
    "con behind spaces": (" con .mp4", "_con.mp4"),
    "aux of two extensions": ("aux.tar.mp4", "_aux.tar.mp4"),
    "com1": ("Com1.mp4", "_Com1.mp4"),
    "lpt, superscript": ("lpt².mp4", "_lpt².mp4"),
    "con in a name": ("construct.mp4", "construct.mp4"),
    "com10": ("com10.mp4", "com10.mp4"),
    "nothing": ("", "video"),
    "only dots": ("...", "video"),
    "one dot": (".", "video"),
    "two dots": ("..", "video"),
    "only spaces": ("   ", "video"),
    "only what is hidden": (BIDI + "\0", "video"),
    "only an extension": (".mp4", "video.mp4"),
    "dots and spaces at the ends": (" ..a.mp4. . ", "a.mp4"),
    "no extension": ("clip", "clip"),
    "an extension that is none": ("a." + "x" * 40, "a." + "x" * 40),
    "a dash in front": ("-rf.mp4", "-rf.mp4"),
    "a tilde": ("~root.mp4", "~root.mp4"),
}


@pytest.mark.parametrize("kind", SAFE)
def test_each_name_gets_its_safe_form(kind: str) -> None:
    """What becomes of each kind of name."""
    name, expected = SAFE[kind]
    assert filenames.safe(name) == expected


@pytest.mark.parametrize(
    "character", ["a", "é", "视", "🎬"], ids=["one byte", "two bytes", "three bytes", "four bytes"]
)
@pytest.mark.parametrize("extension", [".mp4", "", ".视频"])
def test_a_long_name_is_cut_to_255_bytes_and_keeps_its_extension(character: str, extension: str) -> None:
    """A long name is cut to 255 bytes, not in the middle of a character, and keeps its extension."""
    for length in range(1, 300):
        found = filenames.safe(character * length + extension)
        size = len(found.encode())
        assert size <= 255
        assert found.endswith(extension)
        assert set(found.removesuffix(extension)) == {character}
        if length * len(character.encode()) + len(extension.encode()) > 255:
            assert size > 255 - len(character.encode())
        else:
            assert found == character * length + extension


RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?")


@given(st.text(st.characters(), max_size=400) | st.text("./\\ con.mp4\u202e\0aé:*", max_size=20))
@example("a" * 255 + "." + "b" * 5)
@example("é" * 300 + " .mp4")
@example("con" + "\u202e" + ".mp4")
@example("a/ . / .mp4")
@example("CON .mp4")
@example("nul." + "x" * 300)
def test_any_text_becomes_one_plain_safe_name(name: str) -> None:
    """Any text becomes one plain name: no path, nothing hidden or reserved, at most 255 bytes; safe stays safe."""
    found = filenames.safe(name)
    assert 1 <= len(found.encode()) <= 255
    assert not set(found) & set('/\\<>:"|?*\0')
    assert found not in (".", "..")
    assert found == found.strip(" .")
    assert found.isprintable() or all(unicodedata.category(c) == "Zs" for c in found if not c.isprintable())
    assert not RESERVED.fullmatch(found)
    assert filenames.safe(found) == found


DISPLAY: dict[str, tuple[str, str]] = {
    "as it is": ("../我的 视频🎬.mp4", "../我的 视频🎬.mp4"),
    "controls go": ("a\0b\r\n\tc\x85.mp4", "abc.mp4"),
    "a lone surrogate goes": ("a\ud800.mp4", "a.mp4"),
    "bidi stays, it is only shown": ("a\u202e.mp4", "a\u202e.mp4"),
    "empty": ("", ""),
    "1,024 characters": ("a" * 1024, "a" * 1024),
}


@pytest.mark.parametrize("kind", DISPLAY)
def test_a_displayed_name_has_no_control_characters(kind: str) -> None:
    """The name as its owner knows it, without what breaks lines and databases."""
    name, expected = DISPLAY[kind]
    assert filenames.display(name) == expected


@given(st.text(st.characters(), max_size=1500))
@example("a" * 1100 + ".mp4")
def test_a_displayed_name_keeps_its_accepted_extension(name: str) -> None:
    """A name that was accepted is still accepted as it is kept: shortening takes no extension away."""
    shown = filenames.display(name)
    assert len(shown) <= 1024
    assert shown.encode().decode() == shown
    assert media_types.by_name(name) is None or media_types.by_name(shown) is media_types.by_name(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.mp4", "a.mp4"),
        ("/home/me/a.mp4", "a.mp4"),
        ("C:\\fakepath\\a.mp4", "a.mp4"),
        ("\\\\host\\share\\a.mp4", "a.mp4"),
        ("a\\b/视频.mp4", "视频.mp4"),
        ("a/b\\c.mp4", "c.mp4"),
        ("videos/", "videos"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_the_base_is_the_last_part_of_a_path(name: str, expected: str) -> None:
    """The last part of a path, whichever separators it has; what has no last part stays."""
    assert filenames.base(name) == expected
