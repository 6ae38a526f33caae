"""The operations of reports."""

from dataclasses import replace

from server.database.report_queries import MOST_ROWS, REPORTS
from server.errors import FieldInvalidError, NotFoundError, ReportTooLargeError
from server.web.openapi.files import NOSNIFF
from server.web.openapi.operation import (
    JSON,
    Answer,
    Header,
    Operation,
    Operations,
    Tag,
    array,
    nullable,
    one_of,
    path,
    query,
    record,
    text,
)
from server.web.openapi.schemas import DONE_FLAG, NO_STORE

MOST_DAYS, DAYS = 366, 30
CSV = "text/csv"

_DAY = text(format="date", pattern=r"^\d{4}-\d\d-\d\d$")
_REPORT = Operation(
    id="report",
    tag=Tag.REPORTS,
    summary="Numbers of a range of days",
    description="Of the caller's own uploads; with the scope `admin` of those of all owners, or of one. Days are those "
    "of UTC, and both are included. A day without uploads has no row. `storage` is as of now, and `queue` is for "
    f"`admin` alone. At most {MOST_ROWS:,} rows. What each column means is in docs/database.md.",
    scope="read",
    parameters=(
        path("name", "The report.", one_of(tuple(REPORTS)), "uploads"),
        query("from", f"The first day; {DAYS} days by default.", _DAY, "2026-11-01"),
        query("to", f"The last day, at most {MOST_DAYS} days later; today by default.", _DAY, "2026-11-30"),
        query("owner", "Whose numbers, for `admin`.", text(), "ann"),
        query("format", "`csv`: a file for a spreadsheet.", one_of(("json", "csv")), "json"),
    ),
    answers=(
        Answer(
            status=200,
            description="The rows, by day or hour; `failures` and `storage` begin with the most.",
            content={
                JSON: record(
                    {
                        "success": DONE_FLAG,
                        "report": one_of(tuple(REPORTS)),
                        "owner": nullable(text(), "Whose numbers; `null`: those of all owners."),
                        "from": _DAY,
                        "to": _DAY,
                        "rows": array(
                            {"type": "object", "additionalProperties": {"type": ["string", "number", "null"]}}
                        ),
                    }
                ),
                CSV: text("The first line has the names of the columns."),
            },
            headers=(
                NO_STORE,
                replace(NOSNIFF, required=False),
                Header(name="Content-Disposition", description="The file's name, of CSV.", schema=text()),
            ),
            example={
                "success": True,
                "report": "uploads",
                "owner": None,
                "from": "2026-11-01",
                "to": "2026-11-30",
                "rows": [
                    {
                        "day": "2026-11-29",
                        "uploads": 12,
                        "bytes": 123456,
                        "completed": 11,
                        "expired": 1,
                        "resumed": 2,
                    }
                ],
            },
        ),
    ),
    errors=(FieldInvalidError, NotFoundError, ReportTooLargeError),
)
REPORT: Operations = {"GET": _REPORT, "HEAD": _REPORT.as_head("reportHead")}
