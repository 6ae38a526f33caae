"""Which folders are on disks of this machine."""

from pathlib import Path

import pytest

from server.storage.mounts import is_local, kind_of

MOUNTS = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:50 / /srv/videos rw,relatime shared:5 master:1 - nfs4 nas:/videos rw,vers=4.2
41 27 0:51 / /srv/my\040videos rw - cifs //nas/videos rw
42 27 0:52 / /data rw - nfs nas:/data rw
43 27 8:1 /sub /data rw - btrfs /dev/sda1 rw,subvol=/sub
""".strip().splitlines()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/videodock", "ext4"),
        ("/srv/videos", "nfs4"),
        ("/srv/videos/a/b", "nfs4"),
        ("/srv/videos2", "ext4"),
        ("/srv/my videos/a", "cifs"),
        ("/data/uploads", "btrfs"),
        ("/", "ext4"),
    ],
)
def test_the_nearest_and_latest_mount_counts(folder: str, kind: str) -> None:
    """By whole segments of the path; of two mounts on one place the later one hides the other."""
    assert kind_of(Path(folder), MOUNTS) == kind


def test_an_unknown_place_is_not_local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the kernel's table cannot be read, or says nothing, a thread looks."""
    assert kind_of(Path("/x"), []) is None
    monkeypatch.setattr("server.storage.mounts._MOUNTS", tmp_path / "none")
    assert not is_local(tmp_path)


def test_the_kernels_own_files_are_not_a_disk() -> None:
    """proc is no place for uploads."""
    assert not is_local(Path("/proc/self"))
