"""The table as an outbox: which tasks are due to be sent to a worker, and which a worker has claimed.

Rule: it only reads. Its result may be out of date at once; only a claim decides whether a worker gets a task.
"""

from sqlalchemy import Float, func, literal, not_, select, true
from sqlalchemy.orm import Session, aliased

from server.database.models import Task
from server.database.types import database_time
from server.tasks.claimable import claimable, horizon, is_claimed, is_open, is_running

Sending = tuple[str, int]
"""A task's id and its attempt so far: after a claim, the next message is a new one."""

_UNLIMITED = 2**31 - 1


def due(session: Session, *, node: str, lease: float, owner_limit: int, limit: int) -> list[Sending]:
    """The tasks of this data folder that could be claimed, at most so many, counted as if those before each already
    ran: the order of `fair_queue.py`. On PostgreSQL only.

    `lease` is the workers' setting, in seconds; `owner_limit` is how many tasks of one owner may run, 0 for any number.
    """
    now = select(database_time()).scalar_subquery()
    too_far = select(database_time(literal(horizon(lease), Float()))).scalar_subquery()
    open_ones = (Task.node == node, is_open(Task))
    owners = select(Task.owner).where(*open_ones).distinct().cte("owners")
    runs = is_running(Task, now, too_far)
    busy = select(Task.owner, func.count().label("running")).where(*open_ones, runs).group_by(Task.owner).cte("busy")
    one = aliased(Task)
    # At most so many of each owner: the cost depends on the number of owners, not on how many tasks one of them has.
    waiting = (
        select(one.id, one.attempt, one.created_at)
        .where(one.node == node, one.owner == owners.c.owner, claimable(one, now, too_far))
        .order_by(one.created_at, one.id)
        .limit(limit)
        .lateral("waiting")
    )
    turn = func.coalesce(busy.c.running, 0) - 1
    turn += func.row_number().over(partition_by=owners.c.owner, order_by=(waiting.c.created_at, waiting.c.id))
    found = select(waiting.c.id, waiting.c.attempt, waiting.c.created_at, turn.label("turn"))
    found = found.select_from(owners).join(waiting, true()).outerjoin(busy, busy.c.owner == owners.c.owner)
    ranked = found.subquery("ranked")
    query = select(ranked.c.id, ranked.c.attempt).where(ranked.c.turn < (owner_limit or _UNLIMITED))
    in_turn = query.order_by(ranked.c.turn, ranked.c.created_at, ranked.c.id).limit(limit)
    return [(row.id, row.attempt) for row in session.execute(in_turn)]


def active_claims(session: Session, node: str, *, dead: str | None) -> set[tuple[str, int]]:
    """Task and attempt of every claim that a worker may still be working on, whether or not its lease lasts.

    Workers whose names begin with `dead` are known to be dead.
    """
    held = [Task.node == node, is_claimed()]
    if dead is not None:
        held.append(not_(Task.worker.startswith(dead, autoescape=True)))
    return {(row.id, row.attempt) for row in session.execute(select(Task.id, Task.attempt).where(*held))}
