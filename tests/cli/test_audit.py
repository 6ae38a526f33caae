"""`videodock audit list`: filters, the table and JSON, on both databases."""

from datetime import UTC, datetime, timedelta

import pytest

from server.auth.audit import AuditLog, Entry
from server.database.access_models import AuditEntry
from tests.cli.operator import Operator

NOW = datetime.now(UTC)


def fill(operator: Operator) -> None:
    """Four entries: of Ann, of Bob on what is Ann's, of an operator, and of nobody with a name that writes."""
    entries = [
        (9, Entry(action="sign_in", actor="key:1", owner="ann", address="192.0.2.1")),
        (
            3,
            Entry(
                action="task_cancelled",
                actor="jwt:bob",
                owner="bob",
                object_kind="task",
                object_id="t1",
                object_owner="ann",
                details={"files": 2, "names": ["a.mp4", "b.mp4"]},
            ),
        ),
        (1, Entry(action="key_created", actor="operator", object_kind="key", object_id="k1", object_owner="cat")),
        (0, Entry(action="sign_in_failed", actor="none", address="192.0.2.9", details={"kind": "\x1b[2J"})),
    ]
    for days, entry in entries:
        log = AuditLog(database=operator.services.database, clock=lambda days=days: NOW - timedelta(days=days))  # type: ignore[misc]
        log.record_now(entry)


def test_entries_are_filtered_and_limited(operator: Operator) -> None:
    """The newest first; by owner (of the actor or of the object), action and time; JSON has every column."""
    assert operator.run("audit", "list").output == "No entries.\n"
    fill(operator)
    shown = operator.json("audit", "list")
    assert [entry["action"] for entry in shown] == ["sign_in_failed", "key_created", "task_cancelled", "sign_in"]
    assert shown[0].keys() == set(AuditEntry.__table__.columns.keys())
    assert shown[0]["at"].endswith("Z")
    assert shown[2]["details"] == {"files": 2, "names": ["a.mp4", "b.mp4"]}
    cases = {
        ("--owner", "ann"): ["task_cancelled", "sign_in"],
        ("--owner", "bob"): ["task_cancelled"],
        ("--owner", "cat"): ["key_created"],
        ("--owner", "nobody"): [],
        ("--action", "sign_in"): ["sign_in"],
        ("--action", "sign_in", "--action", "key_created"): ["key_created", "sign_in"],
        ("--since", "2d"): ["sign_in_failed", "key_created"],
        ("--since", "73h"): ["sign_in_failed", "key_created", "task_cancelled"],
        ("--since", (NOW - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")): ["sign_in_failed", "key_created"],
        ("--since", (NOW - timedelta(days=2)).strftime("%Y-%m-%d %H:%M")): ["sign_in_failed", "key_created"],
        ("--since", "2001-01-01", "--owner", "ann", "--limit", "1"): ["task_cancelled"],
        ("--limit", "2"): ["sign_in_failed", "key_created"],
        ("--limit", "0"): ["sign_in_failed", "key_created", "task_cancelled", "sign_in"],
    }
    for filters, expected in cases.items():
        assert [entry["action"] for entry in operator.json("audit", "list", *filters)] == expected, filters


def test_the_table_has_a_line_per_entry(operator: Operator) -> None:
    """Who, what, from where and to which object, in UTC; nothing in it writes on the terminal."""
    fill(operator)
    heading, failed, created, cancelled, signed_in = operator.run("audit", "list").output.splitlines()
    assert heading.split() == ["WHEN", "(UTC)", "ACTION", "ACTOR", "OWNER", "OBJECT", "FROM", "DETAILS"]
    assert cancelled.startswith((NOW - timedelta(days=3)).strftime("%Y-%m-%d %H:%M:%S"))
    assert "  task_cancelled  jwt:bob   bob    task t1 of ann  " in cancelled
    assert cancelled.endswith("  files 2; names a.mp4, b.mp4")
    assert "key k1 of cat" in created
    assert "192.0.2.1" in signed_in
    assert "\x1b" not in failed


@pytest.mark.parametrize("since", ["yesterday", "7", "7y", "-1d", "2026-13-01", "999999w", ""])
def test_a_time_that_cannot_be_is_explained(operator: Operator, since: str) -> None:
    """Exit code 2, and what can be given."""
    done = operator.run("audit", "list", "--since", since)
    assert done.exit_code == 2
    assert "use a time such as 2026-03-01" in done.stderr
