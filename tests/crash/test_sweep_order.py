"""One sweep is enough, in whichever order the ids of a final upload and of its last part come."""

from pathlib import Path

import pytest

from server.bootstrap import Services
from server.settings import Settings
from server.tus.protocol import PARTIAL
from server.uploads.new_upload import NewUpload
from tests.harness.migrated import migrate
from tests.harness.rows import query
from tests.tus.client import video

DATA = video(5000)
FIRST, LAST = "00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff"


@pytest.mark.parametrize(("final", "part"), [(FIRST, LAST), (LAST, FIRST)], ids=["final first", "part first"])
def test_a_sweep_finishes_the_last_part_and_joins_the_final(tmp_path: Path, final: str, part: str) -> None:
    """The server died behind the part's last byte: the sweep finishes the part, and joins the final."""
    url = f"sqlite:///{tmp_path / 'test.db'}"
    migrate(url)
    with Services.open(Settings(data_dir=tmp_path / "data", database_url=url)) as services:
        services.claim_store()
        for upload, concat, parts in ((part, PARTIAL, ()), (final, "final;…", (part,))):
            services.repository.insert(
                NewUpload(
                    id=upload,
                    owner="default",
                    protocol="tus",
                    task_id=upload,
                    length=len(DATA),
                    filename="clip.mp4",
                    concat=concat,
                    parts=parts,
                )
            )
        services.store.local_path(part).write_bytes(DATA)
        services.sweep()
        assert services.store.local_path(final).read_bytes() == DATA
        assert not services.store.local_path(part).exists()
    rows = {row["id"]: (row["status"], bool(row["has_bytes"])) for row in query(url, "SELECT * FROM uploads")}
    assert rows == {final: ("complete", True), part: ("terminated", False)}
    assert query(url, "SELECT id, status FROM tasks") == [{"id": final, "status": "uploaded"}]
