"""Which columns have personal data, and which have secrets.

Rule: every column of text or JSON is listed here or cannot identify a person; a test compares the lists.
docs/database.md marks the listed ones. `videodock owner erase` empties the personal ones; reports never get secrets.
"""

from collections.abc import Mapping

PERSONAL: Mapping[str, frozenset[str]] = {
    "uploads": frozenset({"owner", "metadata_raw", "filename", "passthrough"}),
    "tasks": frozenset({"owner", "title", "passthrough", "waiting_params", "error_params"}),
    "task_files": frozenset({"name", "safe_name", "error_params"}),
    "task_events": frozenset({"owner", "data"}),
    "form_answers": frozenset({"owner", "key", "answer"}),
    "api_keys": frozenset({"owner"}),
    "grants": frozenset({"owner", "created_by", "filename", "upload_metadata"}),
    "shares": frozenset({"owner", "created_by"}),
    "browser_sessions": frozenset({"owner", "credential"}),
    "owners": frozenset({"owner"}),
    "audit_log": frozenset({"actor", "owner", "object_id", "object_owner", "address", "details"}),
    "webhook_endpoints": frozenset({"owner", "url"}),
    "webhook_deliveries": frozenset({"data"}),
    "webhook_attempts": frozenset({"answer"}),
}

SECRET_TABLES = frozenset({"signing_keys", "browser_sessions", "webhook_secrets"})
SECRET_COLUMNS: Mapping[str, frozenset[str]] = {
    "api_keys": frozenset({"secret_hash"}),
    "grants": frozenset({"secret_hash"}),
    "shares": frozenset({"token_hash"}),
    # Its path or query may have a token of the receiver.
    "webhook_endpoints": frozenset({"url"}),
}


def is_personal(table: str, column: str) -> bool:
    """Whether the column can identify a person, or has the names that they gave their videos."""
    return column in PERSONAL.get(table, frozenset())


def is_secret(table: str, column: str) -> bool:
    """Whether the column is or may contain a secret or its hash."""
    return table in SECRET_TABLES or column in SECRET_COLUMNS.get(table, frozenset())
