"""The locks of a data folder, as the kernel lists them."""

from pathlib import Path


def held_locks(data_dir: Path) -> list[str]:
    """The bytes that are locked; also those of another process."""
    inode = (data_dir / "locks" / ".held").stat().st_ino
    listed = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    # A line of who waits for a lock has an arrow more.
    return sorted(fields[6] for fields in listed if fields[5].endswith(f":{inode}"))
