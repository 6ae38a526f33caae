"""The columns of lists, tasks and uploads that an operator sees.

Rule: it chooses and names; JSON has every column.
"""

from collections.abc import Mapping, Sequence

from server.cli.output import bytes_of, reason, record, table
from server.cli.rows import Record
from server.messages import size


def listed(kind: str, found: Sequence[Record], width: int | None) -> str:
    """A list of `tasks` or `uploads` as a table."""
    if kind == "tasks":
        headings = ("ID", "STATUS", "%", "FILES", "CREATED (UTC)", "ENDED (UTC)", "OWNER", "REASON")
        return table(headings, [_task_line(task) for task in found], width)
    headings = ("ID", "STATUS", "BYTES", "BY", "CREATED (UTC)", "EXPIRES (UTC)", "OWNER", "FILE")
    return table(headings, [_upload_line(upload) for upload in found], width)


def shown(kind: str, found: Record, width: int | None) -> str:
    """A task with all that belongs to it, or an upload."""
    if kind == "upload":
        # The expiry of a complete upload has no meaning any more.
        over = () if found["status"].value == "open" else ("expires_at",)
        return record({name: value for name, value in found.items() if value != [] and name not in over})
    rest = ("files", "events", "error_code", "error_params", "waiting_code", "waiting_params")
    head = {name: value for name, value in found.items() if name not in rest}
    head["reason"] = _task_reason(found) or None
    files = [_file_line(file) for file in found["files"]]
    steps = [_step_line(file, step) for file in found["files"] for step in file["steps"]]
    names = {file["id"]: file["name"] for file in found["files"]}
    with_data = [(event, _event_data(event["data"] or {}, names)) for event in found["events"]]
    events = [(event["at"], event["type"], event["attempt"], data) for event, data in with_data]
    parts = [record(head), "", table(("FILE", "UPLOAD", "STATUS", "%", "SIZE", "NAME", "REASON"), files, width)]
    if steps:
        parts += ["", table(("FILE", "STEP", "STATUS", "%", "FAILURES", "ENDED (UTC)", "REASON"), steps, width)]
    parts += ["", table(("WHEN (UTC)", "EVENT", "ATTEMPT", "DATA"), events, width)]
    return "\n".join(parts)


def _task_line(task: Record) -> Sequence[object]:
    when = (task["created_at"], task["finished_at"])
    return (task["id"], task["status"], task["progress"], task["file_count"], *when, task["owner"], _task_reason(task))


def _task_reason(task: Record) -> str:
    if task["partial"]:
        return "Some of its files failed"
    return reason(task["error_code"], task["error_params"]) or reason(task["waiting_code"], task["waiting_params"])


def _upload_line(upload: Record) -> Sequence[object]:
    expires = upload["expires_at"] if upload["status"].value == "open" else None
    cells = (upload["protocol"], upload["created_at"], expires, upload["owner"], upload["filename"])
    return (upload["id"], upload["status"], bytes_of(upload["received"], upload["length"]), *cells)


def _file_line(file: Record) -> Sequence[object]:
    why = reason(file["error_code"], file["error_params"]) or "; ".join(reason(code, {}) for code in file["remarks"])
    cells = (file["upload_id"], file["status"], file["progress"], size(file["size"]), file["name"], why)
    return (file["position"], *cells)


def _event_data(data: Record, names: Mapping[str, str]) -> str:
    """The data of an event, with the names of its files in place of their ids."""
    named = {
        key: ", ".join(names.get(each, each) for each in value) if isinstance(value, list) else names.get(value, value)
        for key, value in data.items()
    }
    return "; ".join(f"{key} {value}" for key, value in named.items())


def _step_line(file: Record, step: Record) -> Sequence[object]:
    why = reason(step["error_code"], step["error_params"])
    cells = (step["name"], step["status"], step["progress"], step["failures"], step["finished_at"], why)
    return (file["position"], *cells)
