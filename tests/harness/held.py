"""The locks of a data folder, as the kernel lists them.

Rule: the kernel lists locks a page at a time, and those of the whole machine. While others take and free theirs, a line
may come twice, or not at all: a list counts when it came twice in a row.
"""

from pathlib import Path


def held_locks(data_dir: Path) -> list[str]:
    """The bytes that are locked; also those of another process."""
    inode = (data_dir / "locks" / ".held").stat().st_ino
    last, now = None, _listed(inode)
    while now != last:
        last, now = now, _listed(inode)
    return sorted(now)


def _listed(inode: int) -> set[str]:
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    # A line of who waits for a lock has an arrow more. A byte is locked once: who has it is nobody's question here.
    return {fields[6] for fields in lines if fields[5].endswith(f":{inode}")}
