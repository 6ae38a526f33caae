"""How much of everything a run does: for the report, with `--full`, and with `--quick`.

Rule: amounts only; what is done with them, and by which servers, is in `works.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.source import MIB

MB = 1_000_000
GB = 1_000_000_000
KIB = 1 << 10


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One of these three."""

    rounds: int
    size: int  # bytes of one whole upload, and of all chunks together
    small_size: int  # bytes with 500 KiB chunks
    seconds: float  # of cycles, of slow uploads and of phones
    chunks: Sequence[int] = (500 * KIB, MIB, 5 * MIB, 8 * MIB)
    chunk_clients: Sequence[int] = (1, 4, 32)
    chunk_size: int  # bytes of all clients together, for each of these
    trickles: Sequence[int]
    phones: int
    rates: Sequence[int]  # bytes a second of each phone
    sizes: Sequence[int]
    clients: Sequence[int]
    open: Sequence[int] = (10, 1_000, 100_000)  # uploads in the table
    pollers: int = 200  # clients that ask for the status
    video_seconds: int = 30  # of each of the videos that are encoded meanwhile

    def chunks_together(self, chunk: int, clients: int) -> int:
        """Bytes of so many clients, at least two chunks each."""
        return max(self.chunk_size, 2 * chunk * clients)

    @property
    def source_size(self) -> int:
        """Bytes that the source needs so that no two uploads at once are alike; larger ones begin again."""
        return max(64 * MB, self.size, self.chunks_together(max(self.chunks), max(self.chunk_clients)))


USUAL = Scale(
    rounds=5,
    size=GB,
    small_size=512 * MB,
    seconds=8,
    chunk_size=256 * MB,
    trickles=(500, 1000),
    phones=500,
    rates=(20_000, 80_000, 300_000),
    sizes=(100 * MB, GB),
    clients=(1, 4, 16, 64),
)
FULL = replace(USUAL, sizes=(*USUAL.sizes, 10 * GB))
QUICK = Scale(
    rounds=1,
    size=256 * MB,
    small_size=64 * MB,
    seconds=2,
    chunks=(500 * KIB, 8 * MIB),
    chunk_size=64 * MB,
    trickles=(100,),
    phones=100,
    rates=(80_000,),
    sizes=(32 * MB, 256 * MB),
    clients=(1, 16),
    open=(10, 10_000),
    video_seconds=10,
)
