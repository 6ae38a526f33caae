"""What the machine's steps are drawn from.

Rule: sizes lie around those at which something changes: no byte, the 64 that decide what a file is, what is written
at once, and the largest upload. What a client does mostly is drawn mostly.
"""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.stateful.model import Check
from tests.stateful.server_under_test import Content
from tests.tus.client import metadata

METADATA = {
    None: (None, ""),
    "clip.mp4": (metadata(filename="clip.mp4"), f"is_private,empty ,{metadata(name='clip.mp4')}"),
    "clip.mov": (metadata(filename="clip.mov", name="notes.txt"),),
    "clip.mkv": (metadata(name="clip.mkv"),),
    "notes.txt": (metadata(filename="notes.txt"),),
}
NAMED = st.sampled_from(
    [(name, raw) for name, raws in METADATA.items() for raw in raws] + [("clip.mp4", METADATA["clip.mp4"][0])] * 4
)
SIZES = st.sampled_from([0, 1, 24, 63, 64, 65, 200, 5_000, 270_000])
LENGTHS = st.sampled_from([0, 1, 24, 63, 64, 65, 200, 200, 5_000, 300_000, None, None])
CONTENTS: SearchStrategy[Content] = st.sampled_from(["video"] * 7 + ["noise"])
CHECKS = st.sampled_from([Check.NONE] * 6 + [Check.RIGHT] * 2 + list(Check))
HOW_CUT = st.sampled_from(["FIN", "half-close", "RST"])
TRUE_MOSTLY = st.sampled_from([True] * 7 + [False])
