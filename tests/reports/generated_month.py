"""A month of uploads, made by SQL: the same rows on both databases, of any number.

Rule: every value is a formula of the upload's number, so that a test knows what to expect and a million takes minutes.
"""

from sqlalchemy import Connection, text

FIRST = "2026-05-01"
DAYS = 30
OWNERS = 50
_MS = DAYS * 86_400_000

_SQLITE = {
    "numbers": (
        "(WITH RECURSIVE k(n) AS (SELECT :low UNION ALL SELECT n + 1 FROM k WHERE n + 1 < :high) SELECT n FROM k)"
    ),
    "at": "strftime('%Y-%m-%d %H:%M:%f000', '2026-05-01', (({ms}) / 1000.0) || ' seconds')",
    "true": "1",
    "false": "0",
    "json": "{json}",
    "id": "printf('%032d', {n})",
}
_POSTGRESQL = {
    "numbers": "(SELECT generate_series(CAST(:low AS bigint), CAST(:high AS bigint) - 1) AS n)",
    "at": "(TIMESTAMPTZ '2026-05-01 00:00:00+00' + ({ms}) * INTERVAL '1 millisecond')",
    "true": "true",
    "false": "false",
    "json": "CAST({json} AS json)",
    "id": "lpad(CAST({n} AS text), 32, '0')",
}

# What becomes of upload n, by n % 100: all others succeed.
OPEN, REJECTED, EXPIRED, TERMINATED, NOT_PLAYABLE, UNSUPPORTED, CANCELLED, REMOVED, PROCESSING, WAITING = range(10)


class _Month:
    def __init__(self, kind: str, uploads: int) -> None:
        self._of = _SQLITE if kind == "sqlite" else _POSTGRESQL
        self._uploads = uploads
        self.created = f"n * {_MS} / {uploads}"
        self.first = f"{self.created} + 500"
        self.complete = f"{self.created} + 500 + (1 + n % 60) * 1000"
        self.started = f"{self.complete} + n % 5 * 1000"
        self.playable = f"{self.started} + (1 + n % 7) * 1000"
        self.finished = f"{self.started} + (10 + n % 30) * 1000"
        self.id = self._of["id"].format(n="n")
        self.true, self.false = self._of["true"], self._of["false"]

    def at(self, ms: str) -> str:
        return self._of["at"].format(ms=ms)

    def json(self, value: str) -> str:
        return self._of["json"].format(json=value)

    def insert(self, table: str, values: dict[str, str], where: str = "n >= 0") -> str:
        numbers = self._of["numbers"]
        chosen = ", ".join(values.values())
        return f"INSERT INTO {table} ({', '.join(values)}) SELECT {chosen} FROM {numbers} AS k WHERE {where}"


def _statements(kind: str, uploads: int) -> list[str]:
    m = _Month(kind, uploads)
    owner = f"'owner-' || (n % {OWNERS})"
    arrived, in_task, ran = "n % 100 NOT IN (0, 1, 2, 3)", "n % 100 NOT IN (0, 1, 2, 3)", "n % 100 NOT IN (0,1,2,3,6,9)"
    ended = "n % 100 NOT IN (0, 1, 2, 3, 8, 9)"
    worked = "n % 100 NOT IN (0, 1, 2, 3, 4, 5, 6, 8, 9)"
    status = (
        "CASE n % 100 WHEN 0 THEN 'open' WHEN 1 THEN 'rejected' WHEN 2 THEN 'expired' WHEN 3 THEN 'terminated' "
        "WHEN 7 THEN 'terminated' ELSE 'complete' END"
    )
    size = "1000000 + n % 1000 * 1000"
    rows = [
        m.insert(
            "uploads",
            {
                "id": m.id,
                "owner": owner,
                "status": status,
                "protocol": "CASE WHEN n % 10 = 9 THEN 'multipart' ELSE 'tus' END",
                "client": (
                    "CASE n % 5 WHEN 0 THEN 'browser' WHEN 1 THEN 'ios' WHEN 2 THEN 'android' WHEN 3 THEN 'python' END"
                ),
                "length": size,
                "received": f"CASE WHEN {arrived} THEN {size} ELSE 1000 END",
                "filename": "'video-' || n || '.mp4'",
                "metadata_raw": "'filename dmlkZW8ubXA0'",
                "reserved": f"CASE WHEN n % 100 = 0 THEN {size} ELSE 0 END",
                "has_bytes": f"CASE WHEN n % 100 IN (1, 2, 3, 7) THEN {m.false} ELSE {m.true} END",
                "task_id": m.id,
                "created_at": m.at(m.created),
                "updated_at": m.at(m.complete),
                "expires_at": m.at(m.complete + " + 86400000"),
                "first_byte_at": m.at(m.first),
                "completed_at": f"CASE WHEN {arrived} THEN {m.at(m.complete)} END",
                "resumed": f"CASE WHEN n % 20 = 10 THEN {m.true} ELSE {m.false} END",
            },
        ),
        m.insert(
            "tasks",
            {
                "id": m.id,
                "owner": owner,
                "node": "'node'",
                "status": (
                    "CASE n % 100 WHEN 4 THEN 'error' WHEN 5 THEN 'error' WHEN 6 THEN 'cancelled' "
                    "WHEN 7 THEN 'removed' WHEN 8 THEN 'processing' WHEN 9 THEN 'uploaded' ELSE 'completed' END"
                ),
                "partial": m.false,
                "progress": "CASE WHEN n % 100 IN (6, 8, 9) THEN 0 ELSE 100 END",
                "current_file": "1",
                "file_count": "1",
                "attempt": f"CASE WHEN {ran} THEN 1 ELSE 0 END",
                "failures": "0",
                "worker": "CASE WHEN n % 100 = 8 THEN 'host/1' END",
                "lease_expires_at": f"CASE WHEN n % 100 = 8 THEN {m.at(m.started + ' + 60000')} END",
                "error_code": "CASE n % 100 WHEN 4 THEN 'not_playable' WHEN 5 THEN 'codec_unsupported' END",
                "created_at": m.at(m.complete),
                "updated_at": m.at(m.finished),
                "playable_at": f"CASE WHEN {worked} THEN {m.at(m.playable)} END",
                "started_at": f"CASE WHEN {ran} THEN {m.at(m.started)} END",
                "finished_at": f"CASE WHEN {ended} THEN {m.at(m.finished)} END",
            },
            in_task,
        ),
        m.insert(
            "task_files",
            {
                "id": m.id,
                "task_id": m.id,
                "upload_id": m.id,
                "position": "1",
                "name": "'video-' || n || '.mp4'",
                "safe_name": "'video-' || n || '.mp4'",
                "size": size,
                "status": (
                    "CASE n % 100 WHEN 4 THEN 'error' WHEN 5 THEN 'error' WHEN 6 THEN 'cancelled' "
                    "WHEN 7 THEN 'removed' WHEN 8 THEN 'processing' WHEN 9 THEN 'waiting' ELSE 'completed' END"
                ),
                "progress": f"CASE WHEN {worked} THEN 100 ELSE 0 END",
                "duration": f"CASE WHEN {worked} THEN 30 + n % 4 * 30 END",
                "width": f"CASE WHEN {worked} THEN 1920 END",
                "height": f"CASE WHEN {worked} THEN CASE n % 2 WHEN 0 THEN 1080 ELSE 720 END END",
                "container": f"CASE WHEN {worked} THEN CASE n % 3 WHEN 0 THEN 'mov' ELSE 'mp4' END END",
                "video_codec": f"CASE WHEN {worked} THEN CASE n % 3 WHEN 0 THEN 'hevc' ELSE 'h264' END END",
                "has_poster": m.false,
                "error_code": "CASE n % 100 WHEN 4 THEN 'not_playable' WHEN 5 THEN 'codec_unsupported' END",
            },
            in_task,
        ),
    ]
    for name, position, where in (("probe", 1, in_task), ("poster", 2, worked), ("mp4", 3, worked)):
        failed = "n % 100 IN (4, 5)" if name == "probe" else "n % 1000 = 50" if name == "poster" else "n < 0"
        code = "CASE n % 100 WHEN 4 THEN 'not_playable' WHEN 5 THEN 'codec_unsupported' ELSE 'poster_failed' END"
        rows.append(
            m.insert(
                "task_steps",
                {
                    "file_id": m.id,
                    "name": f"'{name}'",
                    "position": str(position),
                    "status": f"CASE WHEN {failed} THEN 'error' ELSE 'completed' END",
                    "progress": "100",
                    "failures": "CASE WHEN n % 500 = 50 THEN 1 ELSE 0 END",
                    "error_code": f"CASE WHEN {failed} THEN {code} END",
                    "started_at": m.at(m.started),
                    "finished_at": m.at(f"{m.started} + {position} * 1000"),
                },
                where,
            )
        )
    rejected = m.json("""'{"code": "media_type_unsupported"}'""")
    for kind_of, at, where, attempt, data, of in (
        ("upload_created", m.created, "n >= 0", 0, "NULL", True),
        ("upload_finished", m.complete, arrived, 0, "NULL", True),
        ("upload_rejected", m.first, "n % 100 = 1", 0, rejected, True),
        ("upload_expired", m.first, "n % 100 = 2", 0, "NULL", True),
        ("upload_terminated", m.first, "n % 100 = 3", 0, "NULL", True),
        ("uploaded", m.complete, in_task, 0, m.json("""'{"files": 1}'"""), False),
        ("processing", m.started, ran, 1, "NULL", False),
        ("playable", m.playable, worked, 1, "NULL", False),
        ("completed", m.finished, worked, 1, "NULL", False),
        ("error", m.finished, "n % 100 IN (4, 5)", 1, "NULL", False),
        ("cancelled", m.finished, "n % 100 = 6", 0, "NULL", False),
        ("removed", m.finished, "n % 100 = 7", 1, "NULL", False),
        ("retried", m.finished, "n % 1000 = 4", 1, "NULL", False),
    ):
        values = {"task_id": m.id, "owner": owner, "at": m.at(at), "type": f"'{kind_of}'", "attempt": str(attempt)}
        values |= {"data": data, "upload_id": m.id} if of else {"data": data}
        rows.append(m.insert("task_events", values, where))
    rows.append(
        m.insert(
            "audit_log",
            {
                "at": m.at(m.created),
                "action": "CASE n % 40 WHEN 0 THEN 'sign_in' ELSE 'sign_in_failed' END",
                "actor": "'key:1'",
                "owner": f"CASE n % 40 WHEN 0 THEN {owner} END",
                "address": "'192.0.2.' || (n % 7)",
            },
            "n % 20 = 0",
        )
    )
    rows.append(
        m.insert(
            "webhook_deliveries",
            {
                "message_id": "'msg_' || n",
                "endpoint_id": "'e' || (n % 3)",
                "task_id": m.id,
                "type": "'task.completed'",
                "status": "CASE WHEN n % 1000 = 50 THEN 'dead' WHEN n % 1000 = 52 THEN 'pending' ELSE 'delivered' END",
                "attempts": "CASE WHEN n % 1000 = 50 THEN 12 ELSE 1 END",
                "created_at": m.at(m.finished),
                "ended_at": f"CASE WHEN n % 1000 <> 52 THEN {m.at(m.finished + ' + 700')} END",
            },
            f"{worked} AND n % 2 = 0",
        )
    )
    return rows


def fill(connection: Connection, uploads: int) -> None:
    """Insert the month, of `uploads` uploads, into a database at head. The caller commits.

    Day by day, so that an event of an earlier day has a smaller id.
    """
    kind = connection.dialect.name
    if uploads % DAYS:
        raise ValueError("every day has as many uploads")
    batch = uploads // DAYS
    at = _Month(kind, uploads).at("0")
    for n in range(3):
        disabled = at if n == 2 else "NULL"  # the last one
        connection.execute(
            text(
                "INSERT INTO webhook_endpoints (id, owner, url, types, created_at, event_id, failures, disabled_at) "
                f"VALUES ('e{n}', NULL, 'https://receiver.example/{n}', '[]', {at}, 0, {n}, {disabled})"
            )
        )
    for low in range(0, uploads, batch):
        for statement in _statements(kind, uploads):
            escaped = statement.replace(":%", r"\:%").replace("00:00:00", r"00\:00\:00")
            connection.execute(text(escaped), {"low": low, "high": min(low + batch, uploads)})
    if kind == "postgresql":
        connection.execute(text("ANALYZE"))
