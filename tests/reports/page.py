"""The queries of docs/reporting.md, from the page's own text."""

import re
from decimal import Decimal
from typing import Any

from tests.harness.rows import query
from tests.harness.server_process import ROOT

PAGE = (ROOT / "docs" / "reporting.md").read_text()
QUERIES: dict[str, str] = dict(
    re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```sql\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
)


def ask(url: str, heading: str) -> list[dict[str, Any]]:
    """The rows of the query below a heading; PostgreSQL's exact numbers as those of SQLite."""
    rows = query(url, QUERIES[heading])
    return [
        {name: float(value) if isinstance(value, Decimal) else value for name, value in row.items()} for row in rows
    ]
