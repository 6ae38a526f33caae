"""GET /api/reports/<name>: numbers of uploads and processing, as JSON, or as CSV for a spreadsheet.

Rules:

- Who may read has their own numbers, and an administrator those of all owners or of one.
- A visit of an administrator is one entry of the audit log for each owner, and one for each CSV file.
- A cell of a CSV file is never a formula, whatever somebody called an owner.
- Few reports are read at once in a process: each may take a second of the database.
"""

import asyncio
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from starlette.responses import JSONResponse, Response

from server.auth.audit import Entry
from server.auth.authenticator import client_address
from server.auth.principal import Principal, Scope
from server.bootstrap import Services
from server.database import report_queries
from server.database.report_queries import REPORTS, Report
from server.errors import FieldInvalidError, MethodNotAllowedError, NotFoundError, ScopeMissingError
from server.messages import Language, sentence
from server.web.access import Access
from server.web.described import DescribedRoute
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, language
from server.web.middleware.cors import for_api
from server.web.openapi.reports import CSV, DAYS, MOST_DAYS, REPORT
from server.web.query import Query
from server.web.visits import Visits

PATH = "/api/reports/{name}"
_FORMATS = ("json", "csv")
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of one
_AT_ONCE = 2
_NO_STORE = {"Cache-Control": "no-store"}

_Rows = Sequence[Mapping[str, Any]]


def routes(services: Services) -> list[DescribedRoute]:
    """The one route."""
    cors = for_api(services.settings, *REPORT)
    served = endpoint(_Reports(services).answer, api_response, route=PATH, intake=services.intake, cors=cors)
    return [DescribedRoute(PATH, served, REPORT, preflight=True)]


class _Reports:
    def __init__(self, services: Services) -> None:
        self._access = Access(services)
        self._audit = services.auth.audit
        self._clock = services.clock
        self._database = services.database
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._visits = Visits()

    async def answer(self, call: Call) -> Response:
        if call.head.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError(method=call.head.method, allowed="GET, HEAD, OPTIONS")
        query = Query(call.request)
        reader, owner = await self._reader(call, query)
        name = str(call.request.path_params["name"])
        report = REPORTS.get(name)
        if report is None:
            raise NotFoundError
        if report.of_owner is None and owner is not None:
            raise ScopeMissingError(scope=Scope.ADMIN.value)
        as_csv = _format(query) == "csv"
        first, last = self._range(query)
        async with self._places:
            rows = await self._database.run(self._rows, report, owner, first, last)
        if reader is not None and owner != reader.owner:
            await self._note(call, reader, owner, name, as_csv=as_csv)
        if as_csv:
            return _as_csv(report, rows, f"{name}_{first}_{last}.csv")
        if name == "failures":
            rows = _explained(rows, language(call.scope, "zh"))
        days = {"from": first.isoformat(), "to": last.isoformat()}
        content = {"success": True, "report": name, "owner": owner, **days, "rows": rows}
        return JSONResponse(content, headers=_NO_STORE)

    async def _reader(self, call: Call, query: Query) -> tuple[Principal | None, str | None]:
        """Who reads, and whose numbers; None for those of all owners."""
        reader, owner = await self._access.lister(call.scope, query.one("owner"))
        # Without authentication everything belongs to one owner, and the sums of all are quicker.
        return reader, None if reader is None else owner

    async def _note(self, call: Call, reader: Principal, owner: str | None, name: str, *, as_csv: bool) -> None:
        """Record a look at foreign numbers: one entry for a visit, and one for every file that is taken away."""
        address = client_address(call.scope)
        if not as_csv and not self._visits.begins((reader.credential, reader.owner, owner, address)):
            return
        entry = Entry.by(reader, "report_read", object_owner=owner, object_kind="report", object_id=name)
        details = {"format": "csv"} if as_csv else None
        await self._audit.record(replace(entry, address=address, details=details))

    def _rows(self, report: Report, owner: str | None, first: date, last: date) -> _Rows:
        with self._database.read() as session:
            return report_queries.rows(session, report, owner, first, last)

    def _range(self, query: Query) -> tuple[date, date]:
        """The days that are asked for, by default the last `DAYS`."""
        last = _day(query, "to") or self._clock().date()
        first = _day(query, "from") or _before(last, DAYS - 1)
        if not timedelta() <= last - first < timedelta(days=MOST_DAYS):
            raise FieldInvalidError(field="from", reason="field_type", expected=f"to - {MOST_DAYS - 1} d … to")
        return first, last


def _before(day: date, days: int) -> date:
    return day - timedelta(days=min(days, (day - date.min).days))


def _day(query: Query, name: str) -> date | None:
    value = query.one(name)
    if not value:
        return None
    try:
        found = date.fromisoformat(value)
    except ValueError:
        found = date.max
    if found >= date.max - timedelta(days=1):  # the end of the day must be a day, too
        raise FieldInvalidError(field=name, reason="field_type", expected="2026-11-30")
    return found


def _format(query: Query) -> str:
    value = query.one("format") or _FORMATS[0]
    if value not in _FORMATS:
        raise FieldInvalidError(field="format", reason="field_type", expected=", ".join(_FORMATS))
    return value


def _explained(rows: _Rows, reader: Language) -> _Rows:
    """The rows of failures, each with the sentence of its reason."""
    return [
        {**row, "message": sentence(row["reason"], {}, reader) if row["reason"] is not None else None} for row in rows
    ]


def _as_csv(report: Report, rows: _Rows, name: str) -> Response:
    file = io.StringIO()
    writer = csv.writer(file)  # RFC 4180
    writer.writerow(report.columns)
    writer.writerows(_cells(row[column] for column in report.columns) for row in rows)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return Response(file.getvalue(), headers={**_NO_STORE, **headers}, media_type=CSV)


def _cells(values: Iterable[object]) -> list[object]:
    """The values of a row; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    return [f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value for value in values]
