"""One bucket: the calls that the store makes, each repeated while that may help.

Rule: what a caller gets is a result, `FileNotFoundError`, `StorageFullError`, `MultipartGoneError`, `PartLostError`, or
`UnavailableError`; botocore's own exceptions stay here. Every call blocks, at most for the deadline and one attempt.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import Any

import structlog

from server.errors import StorageFullError, UnavailableError
from server.storage.s3 import faults
from server.storage.s3.faults import Fault
from server.storage.s3.ledger import Part
from server.storage.s3.location import Location

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 3.0
_CONNECT_SECONDS, _READ_SECONDS = 3, 15
_CONNECTIONS = 40
_DELETED_AT_ONCE = 1000
_PIECE_BYTES = 1 << 20
_log = structlog.stdlib.get_logger("videodock.storage")

Bytes = bytes | bytearray


class MultipartGoneError(Exception):
    """The bucket does not have that multipart upload: it was completed or aborted."""


class PartLostError(Exception):
    """A part is not in the bucket as the ledger says, so the upload cannot be completed."""


class Bucket:
    """The bucket at a location. `deadline` is how many seconds a call may be repeated."""

    def __init__(self, location: Location, *, deadline: float, client: Any = None) -> None:
        self._location = location
        self._dialect = location.dialect
        self._deadline = deadline
        self._given = client
        self._lock = threading.Lock()
        self.calls: dict[str, int] = {}
        """How often each call was made, repetitions included."""

    @cached_property
    def client(self) -> Any:
        """The client of boto3 that makes the calls."""
        if self._given is not None:
            return self._given
        with self._lock:  # making clients is not safe on several threads
            return make_client(self._location)

    def impatient(self, deadline: float) -> "Bucket":
        """The same bucket with another deadline, for a look whose answer may be that it is away."""
        return Bucket(self._location, deadline=deadline, client=self.client)

    # Objects

    def put(self, key: str, data: Bytes, crc32c: str, media_type: str = "") -> str:
        """Write an object; returns its ETag. The server compares the checksum where it can."""
        more = self._checked(crc32c) | _of_type(media_type)
        found = self._call("put_object", Key=self._key(key), Body=data, **more)
        return str(found["ETag"])

    def get(self, key: str, start: int, stop: int) -> bytes:
        """Bytes of an object, from `start` up to and without `stop`. Raises `FileNotFoundError`."""
        return b"".join(self.stream(key, start, stop)) if start < stop else b""

    def stream(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """The same in pieces of at most a MiB. A connection that breaks is made again where it broke."""
        position, until = start, time.monotonic() + self._deadline
        while position < stop:
            found = self._call("get_object", Key=self._key(key), Range=f"bytes={position}-{stop - 1}")
            before = position
            try:
                with found["Body"] as body:
                    while position < stop and (piece := body.read(min(_PIECE_BYTES, stop - position))):
                        position += len(piece)
                        yield piece
            except Exception as error:
                if faults.fault_of(error) is not Fault.TRANSIENT:
                    raise
                _log.warning("bucket_read_cut", key=key, at=position)
            if position > before:
                until = time.monotonic() + self._deadline
            elif time.monotonic() > until:
                raise UnavailableError(part="store")

    def size(self, key: str) -> int | None:
        """Bytes of an object; None if there is none."""
        try:
            return int(self._call("head_object", Key=self._key(key))["ContentLength"])
        except FileNotFoundError:
            return None

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects. Idempotent."""
        for first in range(0, len(keys), _DELETED_AT_ONCE):
            batch = keys[first : first + _DELETED_AT_ONCE]
            if len(batch) == 1:
                self._call("delete_object", Key=self._key(batch[0]))
                continue
            wanted = {"Objects": [{"Key": self._key(key)} for key in batch], "Quiet": True}
            found = self._call("delete_objects", Delete=wanted)
            if found.get("Errors"):
                _log.warning("bucket_delete_failed", code=found["Errors"][0].get("Code"), number=len(found["Errors"]))
                raise UnavailableError(part="store")

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys that begin with `prefix`, each with its size, in their order."""
        for page in self._pages("list_objects_v2", Prefix=self._key(prefix)):
            for entry in page.get("Contents", ()):
                yield entry["Key"][len(self._location.prefix) :], int(entry["Size"])

    def folders(self, prefix: str) -> Iterator[str]:
        """What follows `prefix` in the keys, up to the next slash and with it; a key without one, whole."""
        start = len(self._key(prefix))
        for page in self._pages("list_objects_v2", Prefix=self._key(prefix), Delimiter="/"):
            for entry in page.get("CommonPrefixes", ()):
                yield entry["Prefix"][start:]
            for entry in page.get("Contents", ()):
                yield entry["Key"][start:]

    # Multipart uploads

    def begin(self, key: str, *, is_checked: bool, media_type: str = "") -> str:
        """Begin a multipart upload; returns its id. With `is_checked` each part comes with its CRC32C."""
        more = _of_type(media_type)
        more |= {"ChecksumAlgorithm": "CRC32C"} if self._dialect.has_part_crc32c and is_checked else {}
        return str(self._call("create_multipart_upload", Key=self._key(key), **more)["UploadId"])

    def put_part(self, key: str, multipart_id: str, number: int, data: Bytes, crc32c: str) -> str:
        """Write a part; returns its ETag. Raises `MultipartGoneError`."""
        found = self._call(
            "upload_part",
            Key=self._key(key),
            UploadId=multipart_id,
            PartNumber=number,
            Body=data,
            **({"ChecksumCRC32C": crc32c} if self._dialect.has_part_crc32c and crc32c else {}),
        )
        return str(found["ETag"])

    def copy_part(self, key: str, multipart_id: str, number: int, source: tuple[str, int, int]) -> str:
        """Make a part of an object's bytes (key, first byte, byte after the last); returns its ETag."""
        name, start, stop = source
        found = self._call(
            "upload_part_copy",
            Key=self._key(key),
            UploadId=multipart_id,
            PartNumber=number,
            CopySource={"Bucket": self._location.bucket, "Key": self._key(name)},
            CopySourceRange=f"bytes={start}-{stop - 1}",
        )["CopyPartResult"]
        return str(found["ETag"])

    def complete(self, key: str, multipart_id: str, parts: Sequence[Part]) -> None:
        """Make an object of the parts. Raises `MultipartGoneError`, `PartLostError`."""
        listed = [self._listed(part) for part in parts]
        self._call(
            "complete_multipart_upload", Key=self._key(key), UploadId=multipart_id, MultipartUpload={"Parts": listed}
        )

    def abort(self, key: str, multipart_id: str) -> None:
        """Drop a multipart upload and its parts. Idempotent."""
        with suppress(MultipartGoneError, FileNotFoundError):
            self._call("abort_multipart_upload", Key=self._key(key), UploadId=multipart_id)

    def multiparts(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        """Multipart uploads that are neither completed nor aborted: key, id, and when each began."""
        marks: dict[str, str] = {}
        while True:
            page = self._call("list_multipart_uploads", Prefix=self._key(prefix), **marks)
            for entry in page.get("Uploads", ()):
                yield entry["Key"][len(self._location.prefix) :], entry["UploadId"], entry["Initiated"]
            if not page.get("IsTruncated"):
                return
            marks = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def part_sizes(self, key: str, multipart_id: str) -> dict[int, tuple[int, str]]:
        """The parts that the bucket has of a multipart upload: number, size, ETag. Raises `MultipartGoneError`."""
        found: dict[int, tuple[int, str]] = {}
        marks: dict[str, int] = {}
        while True:
            page = self._call("list_parts", Key=self._key(key), UploadId=multipart_id, **marks)
            found |= {int(part["PartNumber"]): (int(part["Size"]), part["ETag"]) for part in page.get("Parts", ())}
            if not page.get("IsTruncated"):
                return found
            marks = {"PartNumberMarker": page["NextPartNumberMarker"]}

    def has_parts(self, key: str, multipart_id: str, parts: Sequence[Part]) -> bool:
        """Whether the bucket has these parts of a multipart upload, as they were written."""
        try:
            found = self.part_sizes(key, multipart_id) if parts else {}
        except (MultipartGoneError, FileNotFoundError):
            return False
        return all(found.get(part.number) == (part.size, part.etag) for part in parts)

    # The bucket itself

    def try_out(self, doing: str, call: Callable[[], object]) -> None:
        """`call`, with each fault as an `OSError` whose text is a sentence for the operator."""
        try:
            call()
        except UnavailableError as error:
            why = error.__cause__ if isinstance(error.__cause__, Exception) else error
            raise OSError(0, faults.sentence(why, doing)) from error
        except StorageFullError as error:
            raise OSError(0, "the bucket is full") from error
        except MultipartGoneError as error:
            raise OSError(0, "the object store forgets multipart uploads at once") from error

    def _key(self, key: str) -> str:
        return self._location.prefix + key

    def _checked(self, crc32c: str) -> dict[str, str]:
        return {"ChecksumCRC32C": crc32c} if self._dialect.has_crc32c and crc32c else {}

    def _listed(self, part: Part) -> dict[str, Any]:
        listed: dict[str, Any] = {"PartNumber": part.number, "ETag": part.etag}
        if self._dialect.has_part_crc32c and part.crc32c:
            listed["ChecksumCRC32C"] = part.crc32c
        return listed

    def _pages(self, name: str, **params: Any) -> Iterator[Mapping[str, Any]]:
        while True:
            page = self._call(name, **params)
            yield page
            if not page.get("IsTruncated"):
                return
            params["ContinuationToken"] = page["NextContinuationToken"]

    def _call(self, name: str, **params: Any) -> Mapping[str, Any]:
        """One call, repeated after transient faults, with pauses that grow and differ."""
        until, pause = time.monotonic() + self._deadline, _FIRST_PAUSE
        while True:
            self.calls[name] = self.calls.get(name, 0) + 1
            try:
                found: Mapping[str, Any] = getattr(self.client, name)(Bucket=self._location.bucket, **params)
            except Exception as error:
                fault = faults.fault_of(error)
                wait = random.uniform(pause / 2, pause)  # noqa: S311  # no secret
                if fault is not Fault.TRANSIENT or time.monotonic() + wait > until:
                    raise self._translated(name, fault, error) from error
                _log.info("bucket_repeated", call=name, reason=faults.code_of(error) or type(error).__name__)
            else:
                return found
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _translated(self, name: str, fault: Fault, error: Exception) -> Exception:
        match fault:
            case Fault.FULL:
                return StorageFullError()
            case Fault.NO_OBJECT:
                return FileNotFoundError(2, "the bucket has no such object")
            case Fault.NO_MULTIPART | Fault.EXISTS:
                return MultipartGoneError()
            case Fault.INVALID_PART:
                _log.error("bucket_part_lost", call=name)
                return PartLostError()
        _log.warning("bucket_unavailable", call=name, reason=faults.sentence(error), code=faults.code_of(error))
        return UnavailableError(part="store")


def _of_type(media_type: str) -> dict[str, str]:
    return {"ContentType": media_type} if media_type else {}


def make_client(location: Location) -> Any:
    """A client of boto3 for a bucket; it may be used on all threads."""
    import boto3  # of the extra `s3`; it takes a while
    from botocore.config import Config

    config = Config(
        signature_version="s3v4",
        retries={"total_max_attempts": 1},  # repetitions are made here
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        max_pool_connections=_CONNECTIONS,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if location.dialect.is_path_style else "virtual"},
        tcp_keepalive=True,
    )
    logging.getLogger("botocore").setLevel(logging.WARNING)
    region = location.region or ("us-east-1" if location.endpoint else None)
    return boto3.session.Session().client("s3", endpoint_url=location.endpoint, region_name=region, config=config)
