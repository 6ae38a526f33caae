"""`videodock keys`, `grants` and `signing`: what they print, once, and what they refuse."""

import json
import re
import stat
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.security.callers import TUS, Callers

FORM = re.compile(r"vdk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    return start_server(auth="on")


def test_a_key_is_shown_once(server: ServerProcess) -> None:
    """On standard output alone, so that it can be redirected; the list and the database do not have it."""
    made = server.run("keys", "create", "--owner", "alice", "--scope", "upload", "--scope", "read", "--expires", "90d")
    assert made.returncode == 0
    key = made.stdout.strip()
    assert FORM.fullmatch(key)
    assert key not in made.stderr
    listed = server.run("keys", "list")
    assert key.split("_")[1] in listed.stdout
    assert key.split("_", 2)[2] not in listed.stdout
    (record,) = json.loads(server.run("keys", "list", "--owner", "alice", "--json").stdout)
    assert (record["owner"], record["scopes"], record["revoked_at"]) == ("alice", ["read", "upload"], None)
    assert json.loads(server.run("keys", "list", "--owner", "bob", "--json").stdout) == []
    whole = server.run("keys", "revoke", key)
    assert (whole.returncode, whole.stdout) == (0, "Revoked.\n")
    assert "revoked" in server.run("keys", "list").stdout
    actions = query(server.database_url, "SELECT action, actor, object_owner FROM audit_log ORDER BY id")
    assert [row["action"] for row in actions] == ["key_created", "key_revoked"]
    assert {row["actor"] for row in actions} == {"operator"}


def test_json_has_what_a_script_needs(server: ServerProcess) -> None:
    """The documented fields; an expiry in UTC."""
    made = server.run("keys", "create", "--owner", "alice", "--scope", "admin", "--expires", "1h", "--json")
    record = json.loads(made.stdout)
    assert record.keys() == {"id", "key", "owner", "scopes", "expires_at"}
    assert record["key"].startswith(f"vdk_{record['id']}_")
    assert record["expires_at"].endswith("Z")


def test_what_cannot_be_is_refused(server: ServerProcess) -> None:
    """Exit code 2 for a wrong option, 3 for what is not there; one sentence, and nothing is made."""
    for options in (
        ("--owner", "alice"),
        ("--scope", "upload"),
        ("--owner", "", "--scope", "upload"),
        ("--owner", " alice", "--scope", "upload"),
        ("--owner", "alice", "--scope", "everything"),
        ("--owner", "alice", "--scope", "upload", "--expires", "soon"),
        ("--owner", "alice", "--scope", "upload", "--expires", "0d"),
    ):
        assert server.run("keys", "create", *options).returncode == 2, options
    assert query(server.database_url, "SELECT id FROM api_keys") == []
    for command in (("keys", "revoke", "0" * 12), ("grants", "revoke", "0" * 12)):
        done = server.run(*command)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1), done.stderr


def test_grants_are_listed_and_revoked(server: ServerProcess, tmp_path: Path) -> None:
    """A revoked grant creates nothing more, and its upload is continued."""
    callers = Callers(server, tmp_path)
    callers.keys["owner"] = callers.key("alice", "upload")
    grant = callers.grant(uploads=2)
    made = server.http.post(grant["tus_endpoint"], headers={**TUS, "Upload-Length": "10"})
    assert made.status_code == 201
    assert "1 of 2" in server.run("grants", "list").stdout
    assert server.run("grants", "revoke", grant["grant_id"]).returncode == 0
    (record,) = json.loads(server.run("grants", "list", "--json").stdout)
    assert record["revoked_at"] is not None
    assert grant["token"].split("_", 2)[2] not in json.dumps(record)
    assert server.http.head(made.headers["Location"], headers=TUS).status_code == 200


def test_the_files_of_a_server_are_private(server: ServerProcess) -> None:
    """Folders 0700 and files 0600, whatever the umask was: the database has the keys that sign."""
    for path in (server.data_dir, *server.data_dir.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode & 0o077 == 0, (path, oct(mode))
