"""The programs that people use: tus-js-client, tuspy, TUSKit, each with a file on disk.

Rule: a program that gives up is started again, as its user would, until the upload is whole. Which uploads it made on
its way is found by the file's name: one of them is whole, and the others expire.
"""

import contextlib
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed
from tusclient.uploader.uploader import Uploader

from tests.harness.node import NodeClient
from tests.harness.tuskit import TUSKit, UnexpectedAnswerError, UploadFailedError
from tests.soak.sender import StuckError
from tests.soak.side import Side
from tests.soak.tus_clients import SIZES, entry_of
from tests.soak.upload_records import End, Entry

_RETRIES = [0, 200, 500, 1000, 1000, *[1500] * 20]


@contextmanager
def _file(side: Side, dice: random.Random, kind: str, size: int) -> Iterator[tuple[Entry, Path]]:
    """A new video in a folder of its own. Whatever is not told of it is that it is not whole."""
    data, extension = side.videos.make(dice, size)
    entry = entry_of(side, kind, data, extension)
    folder = side.folder / entry.key
    folder.mkdir()
    path = folder / entry.name
    path.write_bytes(data)
    try:
        yield entry, path
    finally:
        shutil.rmtree(folder)
        entry.end = entry.end or End.UNKNOWN


def tus_js(side: Side, dice: random.Random) -> None:
    """tus-js-client on Node, with a file of URLs that it remembers."""
    options: dict[str, object] = {"chunkSize": dice.choice((200_000, 1_000_000)), "parallelUploads": 1}
    kind = dice.choice(("tus-js-client", "tus-js-client", "tus-js-client in parallel"))
    if "parallel" in kind:
        options["parallelUploads"] = dice.randint(2, 3)
    elif dice.random() < 0.3:
        options["uploadDataDuringCreation"] = True
    with _file(side, dice, kind, dice.choice(SIZES[2:])) as (entry, path):
        # What was whole, and whose answer was lost, is sent again by a client that starts anew.
        entry.may_double = True
        options["metadata"] = {"filename": entry.name}
        options["metadataForPartialUploads"] = {"filename": entry.name}
        deadline = time.monotonic() + side.patience
        while time.monotonic() < deadline:
            origin = side.origin(dice)
            given = options | {"endpoint": f"{origin.url}/files", "path": str(path), "retryDelays": _RETRIES}
            with NodeClient("tus.mjs", path.parent, urlStorage=str(path.with_suffix(".urls")), **given) as client:
                with contextlib.suppress(AssertionError):
                    client.finish(seconds=side.patience)
                side.records.count("requests of tus-js-client", len(client.events("response")))
                if client.events("success"):
                    entry.end = End.COMPLETE
                    return
            time.sleep(1)
        raise StuckError(f"{kind} {entry.key}")


def tuspy(side: Side, dice: random.Random) -> None:
    """tuspy, with a checksum on every chunk."""
    with _file(side, dice, "tuspy", dice.choice(SIZES[1:])) as (entry, path), path.open("rb") as stream:
        uploader = Uploader(
            file_stream=stream,
            client=TusClient(f"{_plain(side, dice)}/files"),
            chunk_size=400_000,
            metadata={"filename": entry.name},
            upload_checksum=True,
            retries=3,
            retry_delay=1,
        )
        deadline, high, why = time.monotonic() + side.patience, 0, ""
        while time.monotonic() < deadline:
            try:
                if getattr(uploader, "url", None):  # tuspy says of it that it is None
                    uploader.offset = uploader.get_offset()
                uploader.upload()
            except (TusCommunicationError, TusUploadFailed, requests.RequestException, OSError) as error:
                side.records.count("tuspy gave up and went on")
                why = f"{type(error).__name__}: {error}"
                if uploader.offset > high:
                    deadline, high = time.monotonic() + side.patience, uploader.offset
                if getattr(error, "status_code", 0) in (404, 410):
                    uploader.url, uploader.offset = None, 0
                time.sleep(1)
                continue
            entry.end = End.COMPLETE
            return
        raise StuckError(f"tuspy {entry.key} at {uploader.offset}: {why[:300]}")


def tuskit(side: Side, dice: random.Random) -> None:
    """What TUSKit of iOS sends, and no more than it understands."""
    with _file(side, dice, "TUSKit", dice.choice(SIZES[1:])) as (entry, path):
        upload = TUSKit(_plain(side, dice), path, path.parent)
        deadline = time.monotonic() + side.patience
        again: Callable[[], None] = upload.run
        while time.monotonic() < deadline:
            try:
                again()
            except (UploadFailedError, UnexpectedAnswerError, OSError):
                side.records.count("TUSKit gave up and went on")
                time.sleep(1)
                again = upload.retry
                continue
            if upload.finished:
                entry.end = End.COMPLETE
                return
        raise StuckError(f"TUSKit {entry.key}")


def _plain(side: Side, dice: random.Random) -> str:
    """A way without TLS: tuspy trusts the certificates of its package only, and our TUSKit speaks none."""
    return dice.choice([origin.url for origin in side.origins if not origin.certificate])
