"""`videodock webhooks`: what it prints, once, and what it refuses."""

import json
import re

import pytest

from tests.conftest import StartServer
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess

SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")
URL = "https://backend.example/videodock"


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    return start_server()


def test_a_webhook_from_its_begin_to_its_end(server: ServerProcess) -> None:
    """Secrets are on standard output once; each change is in the audit log."""
    made = server.run("webhooks", "add", URL, "--event", "task.failed", "--event", "task.completed")
    webhook_id, secret = made.stdout.split()
    assert SECRET.fullmatch(secret)
    assert secret not in made.stderr
    assert "public_url is empty" in made.stderr
    (record,) = json.loads(server.run("webhooks", "list", "--json").stdout)
    assert (record["id"], record["url"], record["owner"]) == (webhook_id, URL, None)
    assert record["types"] == ["task.completed", "task.failed"]
    listed = server.run("webhooks", "list").stdout
    assert secret not in listed
    assert " healthy " in listed
    assert server.run("webhooks", "disable", webhook_id).stdout == "Disabled.\n"
    assert "disabled" in server.run("webhooks", "list").stdout
    assert server.run("webhooks", "enable", webhook_id).stdout == "Enabled.\n"
    rotated = json.loads(server.run("webhooks", "rotate", webhook_id, "--json").stdout)
    assert SECRET.fullmatch(rotated["secret"])
    assert rotated["secret"] != secret
    assert server.run("webhooks", "replay", webhook_id, "--since", "1h").stdout == "Queued: 0.\n"
    assert server.run("webhooks", "deliveries", webhook_id).stdout == "No deliveries.\n"
    assert server.run("webhooks", "remove", webhook_id).stdout == "Removed.\n"
    assert server.run("webhooks", "list").stdout == "No webhooks.\n"
    actions = [row["action"] for row in query(server.database_url, "SELECT action FROM audit_log ORDER BY id")]
    changed = ["webhook_changed", "webhook_changed", "webhook_rotated", "webhook_replayed"]
    assert actions == ["webhook_added", *changed, "webhook_removed"]


def test_what_is_refused_says_why(server: ServerProcess) -> None:
    """Exit code 2 for what cannot be, 3 for what is not there."""
    everything = ("--event", "all")
    private = server.run("webhooks", "add", "https://10.0.0.1/", *everything)
    assert (private.returncode, "webhook_allow_private" in private.stderr) == (2, True)
    assert server.run("webhooks", "add", "https://a:b@backend.example/", *everything).returncode == 2
    assert server.run("webhooks", "add", URL, "--event", "task.nothing").returncode == 2
    assert server.run("webhooks", "add", URL).returncode == 2
    assert server.run("webhooks", "add", URL, *everything, "--owner", " x ").returncode == 2
    plain = server.run("webhooks", "add", "http://backend.example/", *everything, "--public-url", "https://v.example")
    assert (plain.returncode, "not encrypted" in plain.stderr) == (0, True)
    webhook_id = plain.stdout.split()[0]
    assert server.run("webhooks", "replay", webhook_id).returncode == 2
    assert server.run("webhooks", "replay", webhook_id, "--message", "msg_x").returncode == 3
    for command in ("disable", "enable", "remove", "rotate", "test", "deliveries"):
        assert server.run("webhooks", command, "nope").returncode == 3, command
