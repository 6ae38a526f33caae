"""The pages that are made from the code are what the code makes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from server.cli import reference_docs
from server.database.models import Base

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "make"), [("database.md", reference_docs.tables), ("errors.md", reference_docs.refusals)]
)
def test_the_generated_pages_are_up_to_date(page: str, make: Callable[[], str]) -> None:
    """`make docs` was run after the last change."""
    assert (DOCS / page).read_text() == make()


def test_every_column_says_what_it_is() -> None:
    """A column without `doc` would be a hole in the page for reports."""
    assert not [column for table in Base.metadata.tables.values() for column in table.columns if not column.doc]
