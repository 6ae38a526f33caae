"""Old and new hosts on one database: an upgrade under load, one host after the other, loses nothing."""

import shutil
from pathlib import Path

import pytest

from tests.harness import description
from tests.harness.cluster import Load, check_nothing_lost, in_front
from tests.harness.postgres import PostgresServer
from tests.harness.rows import query
from tests.harness.server_process import ROOT, ServerProcess
from tests.harness.waiting import until
from tests.migrations.make_old import checked_out, old_server
from tests.migrations.test_upgrade import _lacks

pytestmark = pytest.mark.acceptance

BEFORE = "28573d8670efa597b521c31ef7105eaf463322a0"
"""The last commit without leases, at revision 0012."""


def test_an_upgrade_host_by_host_loses_nothing(tmp_path: Path) -> None:
    """The first new host migrates while an old one receives; both serve chunks of the same uploads; the old one stops.

    A clone without the history has no old code: nothing is to be proved there.
    """
    git = shutil.which("git")
    if not git or _lacks(git, BEFORE):
        pytest.skip("a shallow clone: the code before is not at hand")
    postgres = PostgresServer()
    postgres.start()
    with checked_out(BEFORE) as checkout:
        # The page is built, and no part of the commit.
        shutil.copytree(ROOT / "server/web/page/dist", checkout / "server/web/page/dist")
        url = postgres.create_database()
        old = old_server(checkout, tmp_path / "old", url, transcode="none")
        old.data_dir = tmp_path / "shared"
        new = ServerProcess(tmp_path / "new", database_url=url, data_dir=tmp_path / "shared", cold=True)
        try:
            with in_front(tmp_path, postgres, url, old, new) as made:
                old.start()
                assert query(url, "SELECT version_num FROM alembic_version") == [{"version_num": "0012"}]
                load = Load(made, clients=2, size=8 << 20, chunk=64 << 10)
                load.start()
                until(lambda: load.sent() > 1 << 20, what="the old host receives")
                new.start()
                assert query(url, "SELECT version_num FROM alembic_version") != [{"version_num": "0012"}]
                both = load.sent()
                until(lambda: load.sent() > both + (1 << 20) or load.is_over, what="both hosts receive")
                old.stop()
                load.end()
                made = type(made)((new, new), postgres, url, made.nginx)
                check_nothing_lost(made, load.uploads)
        finally:
            description.take_different()  # the answers of that version are not those of this one's description
            old.close()
            new.close()
            postgres.stop()
