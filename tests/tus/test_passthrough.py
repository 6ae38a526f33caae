"""`passthrough`: a text that comes back unchanged, or is refused."""

import base64
from dataclasses import replace

import pytest

from server.errors import FieldInvalidError, MetadataInvalidError
from server.tus.added_metadata import with_metadata
from server.tus.headers import Head
from server.tus.passthrough import of_field, parse_passthrough
from server.tus.protocol import Create, Offer, decide_create

KEPT = ["order-1", "订单 2", "a\r\n\tb", '{"id": "\\u0000"}', "x" * 1024, "é" * 512, "\x7f", "👍🏽"]
REFUSED = [
    (b"x" * 1025, "size"),
    ("é".encode() * 513, "size"),
    (b"a\0b", "text"),
    (b"\xff", "text"),
    (b"\xc0\x80", "text"),  # NUL in two bytes
    (b"\xed\xa0\x80", "text"),  # half of a surrogate
]
OFFER = Offer(("creation", "concatenation"), (), 10**9)


def creation(value: bytes, **more: str) -> Create:
    """The decision for a creation with this value."""
    headers = {
        "tus-resumable": ("1.0.0",),
        "upload-length": ("10",),
        "upload-metadata": (f"passthrough {base64.b64encode(value).decode()}",),
        **{name.replace("_", "-"): (text,) for name, text in more.items()},
    }
    made = decide_create(Head("POST", headers), OFFER)
    assert isinstance(made, Create)
    return made


@pytest.mark.parametrize("text", KEPT)
def test_a_text_is_kept_as_it_is(text: str) -> None:
    """Of metadata, of a form and of JSON, character by character; of partial uploads, too."""
    assert creation(text.encode()).passthrough == text
    assert creation(text.encode(), upload_concat="partial").passthrough == text
    assert of_field(text) == of_field(text.encode()) == text


@pytest.mark.parametrize(("value", "kind"), REFUSED)
def test_what_is_no_short_text_is_refused(value: bytes, kind: str) -> None:
    """More than 1 KiB, what is no UTF-8, and NUL, which PostgreSQL stores in no text."""
    with pytest.raises(MetadataInvalidError) as of_metadata:
        creation(value)
    assert of_metadata.value.params["reason"] == {"size": "metadata_text_size", "text": "metadata_text"}[kind]
    with pytest.raises(FieldInvalidError) as of_form:
        of_field(value)
    assert of_form.value.params["reason"] == {"size": "text_size", "text": "text_characters"}[kind]


def test_an_empty_text_is_none() -> None:
    """Also a key without a value."""
    assert of_field("") is of_field(b"") is None
    assert parse_passthrough({"passthrough": b""}) is parse_passthrough({}) is None


def test_json_can_spell_half_a_surrogate() -> None:
    """Which no encoding has."""
    with pytest.raises(FieldInvalidError):
        of_field("\ud800")


def test_an_added_text_replaces_the_clients() -> None:
    """What a grant passes through counts, and is judged, too."""
    create = creation(b"mine")
    assert with_metadata(create, {"passthrough": "theirs"}, 50).passthrough == "theirs"
    assert with_metadata(create, {"other": "x"}, 50).passthrough == "mine"
    assert with_metadata(replace(create, metadata_raw=None), {"passthrough": ""}, 50).passthrough is None
    with pytest.raises(MetadataInvalidError):
        with_metadata(create, {"passthrough": "x" * 1025}, 50)
