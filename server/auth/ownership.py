"""To whom an upload or a task belongs, as the rows say it.

Rule: these functions only read. They do not decide who may do what; `web/access.py` does, from what they return.
"""

from typing import Any

from sqlalchemy import select

from server.database.access_models import GrantPlace
from server.database.models import Upload
from server.database.session import Database
from server.errors import TaskNotFoundError


def owners_and_grants(database: Database, upload_ids: tuple[str, ...]) -> set[tuple[str, str | None]]:
    """Owner and grant of each of these uploads; the grant is None without one. Blocking."""
    with database.look() as connection:
        query = select(Upload.owner, Upload.grant_id).where(Upload.id.in_(upload_ids)).distinct()
        return {(row.owner, row.grant_id) for row in connection.execute(query)}


def task_of(database: Database, condition: Any) -> str:
    """The task of an upload for which `condition` holds. Raises `TaskNotFoundError`. Blocking."""
    with database.look() as connection:
        found = connection.scalar(select(Upload.task_id).where(condition).limit(1))
    if found is None:
        raise TaskNotFoundError
    return str(found)


def task_of_form(database: Database, upload_id: str) -> str:
    """The task of the only form that used the grant which reserved this id. Raises `TaskNotFoundError`. Blocking.

    The files of a form get other ids, and `status_url` was sent out before the form existed.
    """
    place = select(GrantPlace.grant_id).where(GrantPlace.upload_id == upload_id).scalar_subquery()
    query = select(Upload.task_id).where(Upload.grant_id == place, Upload.protocol == "multipart").distinct()
    with database.look() as connection:
        found = list(connection.scalars(query.limit(2)))
    if len(found) != 1 or found[0] is None:
        raise TaskNotFoundError
    return found[0]
