"""The pages that are generated from the code: tables and errors.

Rule: the pages say nothing that the models, the error tree and the sentences do not say.
"""

from collections.abc import Iterator

from sqlalchemy import Table

from server import errors, messages
from server.database.models import Base
from server.database.personal_data import is_personal, is_secret
from server.database.report_views import VIEWS, View

_TABLES = """# Tables and views

<!-- Made by `videodock tables` from server/database/; change it there. -->

Reports are plain SQL over these views and tables, on SQLite and PostgreSQL alike; [reporting](reporting.md) has
queries. Times are UTC; sizes are bytes. Reasons are codes; [errors](errors.md) has their sentences. Columns may be
added by later versions; they do not change their meaning. On PostgreSQL the meanings are comments too (`\\d+ uploads`).

**Personal** marks columns that tell who somebody is, or what they called their videos; `videodock owner erase` empties
them. **Secret** marks what `videodock reports grant` never grants.

# Views
"""

_ERRORS = """# Errors

<!-- Made by `videodock errors` from server/errors/ and server/messages/; change it there. -->

Every refusal has a stable code. On the tus mount it is the first word of the text, `code: sentence`; in the documented
API it is `code` beside `message`. A tus request with `Accept: application/json` is refused in JSON: `code`, and
`messages` with the sentence in each language (`zh`, `en`). A task or file that failed has its code in `error`. With
408, 423, 500, 503 and 507 repeating the request may help; `Retry-After` says when. `{…}` stands for a value of the
case. A remark is not a failure: the file is completed, and its `remarks` have the code.
"""


def tables() -> str:
    """docs/database.md."""
    views = "".join(_view(name, view) for name, view in VIEWS.items() if not view.is_internal)
    return _TABLES + views + "\n# Tables\n" + "".join(_table(table) for table in Base.metadata.sorted_tables)


def refusals() -> str:
    """docs/errors.md."""
    lines = ["", "| code | status | sentence | 中文 |", "| --- | --- | --- | --- |"]
    statuses = {kind.code: str(kind.status) for kind in _kinds(errors.VideodockError)}
    for code in sorted(messages.CODES):
        if code.startswith(("upload_accepted", "task_uploaded", "task_processing", "task_completed", "task_error")):
            continue  # states, not refusals
        chinese, english = messages.templates(code)
        subject = "of a webhook" if code.startswith("webhook_") else "of a file"
        status = statuses.get(code, "remark" if code in messages.REMARKS else subject)
        lines.append(f"| `{code}` | {status} | {english} | {chinese} |")
    return _ERRORS + "\n".join(lines) + "\n"


def _kinds(base: type[errors.VideodockError]) -> Iterator[type[errors.VideodockError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _table(table: Table) -> str:
    lines = ["", f"## {table.name}", "", "| column | type | |", "| --- | --- | --- |"]
    for column in table.columns:
        kind = str(column.type).lower() + ("" if column.nullable else " not null")
        keys = ["primary key"] if column.primary_key else []
        keys += [f"→ `{key.target_fullname}`" for key in column.foreign_keys]
        lines.append(
            f"| `{column.name}` | {', '.join([kind, *keys])} | {_marks(table.name, column.name)}{column.doc} |"
        )
    return "\n".join(lines) + "\n"


def _marks(table: str, column: str) -> str:
    marks = "**Personal.** " if is_personal(table, column) else ""
    return marks + ("**Secret.** " if is_secret(table, column) else "")


def _view(name: str, view: View) -> str:
    lines = ["", f"## {name}", "", view.about, "", "| column | type | |", "| --- | --- | --- |"]
    for column, (kind, about) in view.columns.items():
        personal = "**Personal.** " if column == "owner" else ""
        lines.append(f"| `{column}` | {kind} | {personal}{about} |")
    return "\n".join(lines) + "\n"
