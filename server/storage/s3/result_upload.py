"""Uploads the files of a folder as objects.

Rule: at most `parallel` requests run at once, each with at most a part in memory. The first failure ends the others,
and none runs any more when it is raised.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from server.errors import UnavailableError
from server.storage.result_store import MEDIA_TYPES, is_public
from server.storage.s3.bucket import Bucket, MultipartGoneError, PartLostError
from server.storage.s3.checksum import Crc32c, crc32c
from server.storage.s3.dialect import Dialect, part_size
from server.storage.s3.ledger import Part
from server.storage.s3.result_ledger import ResultObject

_READ_BYTES = 1 << 20
_LOOK_SECONDS = 1.0
T = TypeVar("T")
_log = structlog.stdlib.get_logger("videodock.storage")


@dataclass(frozen=True, kw_only=True)
class ResultUpload:
    """Puts files into a bucket. `least_part` is the least size of parts, in bytes."""

    bucket: Bucket
    dialect: Dialect
    least_part: int
    parallel: int

    def put_all(
        self, place: str, folder: Path, names: Sequence[str], check: Callable[[], None]
    ) -> Sequence[ResultObject]:
        """Write these files as objects below the key `place`. `check` is called about once a second, and may raise.

        Blocking. Raises `UnavailableError`, `StorageFullError`, `OSError` of the disk.
        """
        parallel = min(self.parallel, self.dialect.parallel)
        with ThreadPoolExecutor(parallel, thread_name_prefix="result") as pool:
            sizes = {name: (folder / name).stat().st_size for name in names}
            large = {name: size for name, size in sizes.items() if size > self._part(size)}
            works = [partial(self._put, f"{place}{name}", folder / name, name) for name in names if name not in large]
            made = list(_all(pool, works, check))
            for name, size in large.items():
                made.append(self._put_parts(pool, f"{place}{name}", folder / name, name, size, check))
        return made

    def _put(self, key: str, path: Path, name: str) -> ResultObject:
        data = path.read_bytes()
        checksum = crc32c(data)
        self.bucket.put(key, data, checksum, _type_of(name))
        return ResultObject(name=name, size=len(data), crc32c=checksum)

    def _put_parts(
        self, pool: ThreadPoolExecutor, key: str, path: Path, name: str, size: int, check: Callable[[], None]
    ) -> ResultObject:
        step, checksum = self._part(size), _checksum(path, check)
        multipart_id = self.bucket.begin(key, is_checked=True, media_type=_type_of(name))
        try:
            starts = range(0, size, step)
            works = [
                partial(self._put_part, key, multipart_id, number, path, start, min(step, size - start))
                for number, start in enumerate(starts, 1)
            ]
            parts = list(_all(pool, works, check))
            self._complete(key, multipart_id, parts, size)
        except (MultipartGoneError, PartLostError):
            _log.warning("bucket_multipart_gone", key=key)
            raise UnavailableError(part="store") from None
        return ResultObject(name=name, size=size, crc32c=checksum)

    def _put_part(self, key: str, multipart_id: str, number: int, path: Path, start: int, size: int) -> Part:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            data = file.read(size)
        if len(data) != size:
            raise OSError(0, "a result became shorter while it was uploaded")
        checksum = crc32c(data)
        etag = self.bucket.put_part(key, multipart_id, number, data, checksum)
        return Part(start=start, size=size, number=number, etag=etag, crc32c=checksum)

    def _complete(self, key: str, multipart_id: str, parts: Sequence[Part], size: int) -> None:
        try:
            self.bucket.complete(key, multipart_id, parts)
        except MultipartGoneError:
            # Its answer may have been lost: then the object is there.
            if self.bucket.size(key) != size:
                raise

    def _part(self, size: int) -> int:
        return part_size(self.dialect, size, self.least_part)


def public_files(folder: Path) -> Sequence[str]:
    """The names of the results in a folder, sorted: what no client may ask for stays there."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(filter(is_public, found))


def _all(pool: ThreadPoolExecutor, works: Sequence[Callable[[], T]], check: Callable[[], None]) -> Iterator[T]:
    """The results of all, in order; the first failure cancels those that have not begun."""
    futures = [pool.submit(work) for work in works]
    try:
        left = set(futures)
        while left:
            check()
            done, left = wait(left, _LOOK_SECONDS, FIRST_EXCEPTION)
            for future in done:
                future.result()
    finally:
        for future in futures:
            future.cancel()
        wait(futures)
    yield from (future.result() for future in futures)


def _checksum(path: Path, check: Callable[[], None]) -> str:
    found = Crc32c()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_READ_BYTES):
            found.update(piece)
            check()
    return found.text


def _type_of(name: str) -> str:
    return MEDIA_TYPES[name.rpartition(".")[2]]
