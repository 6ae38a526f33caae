"""The form of what is said of a finding."""

from typing import NamedTuple

from server.messages.language import Texts


class FindingTexts(NamedTuple):
    """What is wrong, and what to change; both have `{parameters}`."""

    text: Texts
    change: Texts
