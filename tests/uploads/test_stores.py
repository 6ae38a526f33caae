"""Which store the settings want, and what is refused at the start."""

from pathlib import Path
from typing import Any

import pytest

from server.backup import restore_backup
from server.backup.layout import BackupRefusedError
from server.bootstrap import utc_now
from server.errors import StartError
from server.settings import Settings
from server.storage.disk import DiskStore
from server.uploads import stores
from server.uploads.stores import open_store

S3 = "s3://videos?endpoint=http://127.0.0.1:9"


def test_without_the_setting_uploads_are_files(tmp_path: Path) -> None:
    """The default is the data folder, and the bucket of the setting is not connected to before it is used."""
    assert isinstance(open_store(Settings(data_dir=tmp_path), utc_now), DiskStore)
    far = open_store(Settings(data_dir=tmp_path, store=S3), utc_now)
    assert (far.is_local, far.is_quick) == (False, False)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"store": "s3://videos?dialect=other"}, "dialect"),
        ({"store": S3, "tus_engine": "tuspyserver"}, "tuspyserver"),
        ({"store": S3, "tus_max_size": "900GiB"}, "s3_memory"),
    ],
)
def test_what_a_bucket_cannot_do_is_refused(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    """With a sentence that names the setting."""
    with pytest.raises(StartError, match=told):
        open_store(Settings(data_dir=tmp_path, **settings), utc_now)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the sentence says how to install it."""
    monkeypatch.setattr(stores, "find_spec", lambda _: None)
    with pytest.raises(StartError, match="boto3"):
        open_store(Settings(data_dir=tmp_path, store=S3), utc_now)


def test_a_backup_is_not_restored_beside_a_bucket(tmp_path: Path) -> None:
    """Its files would be where nobody looks for them."""
    with pytest.raises(BackupRefusedError, match="store"):
        restore_backup(Settings(data_dir=tmp_path, store=S3), tmp_path, lambda _done, _all: None)
