"""Which task is next: the waiting tasks of a data folder in a fair order.

Rules:

- The owner with the fewest running tasks comes first, then the oldest task. Among tasks that were begun before, the
  one whose pause ended first counts as the oldest of its owner.
- A task runs while its worker's lease lasts. A postponed task waits, and takes no place.
- What it costs does not depend on how many tasks wait or have ended: it reads the first few that wait. Only when all
  of those belong to owners who have a task running already, each owner with an open task costs two looks into an index.
"""

from typing import Any

from sqlalchemy import (
    CTE,
    Float,
    Integer,
    Row,
    Select,
    String,
    Subquery,
    bindparam,
    func,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.orm import Session, aliased

from server.database.models import Task
from server.database.types import database_time
from server.tasks.claimable import claimable, free_leases, horizon, is_open, is_running

_WINDOW = 64  # waiting tasks that are read
_CHOICE = 32  # so many of them may be claimed; when more workers than this claim at once, some find none
_OWNERS = 8
_UNLIMITED = 2**31 - 1
_LOCKS = 724_519  # our key among PostgreSQL's advisory locks

_node = bindparam("node", type_=String())
_horizon = bindparam("horizon", type_=Float())
_limit = bindparam("owner_limit", type_=Integer())

# As subqueries: PostgreSQL uses an index only for a time that it computes once.
_now = select(database_time()).scalar_subquery()
_too_far = select(database_time(_horizon)).scalar_subquery()


def next_task(session: Session, *, node: str, lease: float, owner_limit: int) -> Row[Any] | None:
    """Id, owner, attempt and number of files of the next task, with its row locked; None without one.

    `owner_limit` is how many tasks of one owner may run at once, 0 for any number.
    """
    asked = {"node": node, "horizon": horizon(lease), "owner_limit": owner_limit or _UNLIMITED}
    found = session.execute(_FIRST, asked).first()
    if found is not None and (found.turn == 0 or found.seen < _WINDOW):
        return found
    # Every owner before has a task running. An owner with fewer, or none, may come much later in the queue.
    for owner in session.execute(_OWNERS_IN_ORDER, asked):
        if found is not None and found.turn <= owner.running:
            return found
        other = session.execute(_FIRST_OF_OWNER, {**asked, "owner": owner.owner}).first()
        if other is not None:
            return other
    return found


def this_task(session: Session, task_id: str, *, node: str, lease: float, owner_limit: int) -> Row[Any] | None:
    """The same for one task: its row, if its owner may have another one running."""
    asked = {"node": node, "horizon": horizon(lease), "owner_limit": owner_limit or _UNLIMITED, "task_id": task_id}
    return session.execute(_THIS, asked).first()


def serialize_claims(session: Session, node: str) -> None:
    """One claim at a time in this data folder, until the transaction ends, so that its counts stay true.

    On SQLite every writing transaction is alone anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(_LOCK, {"node": node})


_LOCK = select(func.pg_advisory_xact_lock(_LOCKS, func.hashtext(_node)))


def _running() -> CTE:
    """How many tasks of each owner run; owners without one are missing."""
    runs = is_running(Task, _now, _too_far)
    return (
        select(Task.owner, func.count().label("running"))
        .where(Task.node == _node, runs)
        .group_by(Task.owner)
        .cte("busy")
    )


def _waiting(*of: Any) -> Subquery:
    """The first tasks that may be claimed: those never begun, those whose lease is over, and those whose lease cannot
    be. Each branch is read along an index, and ends after a few rows."""
    lease, columns = Task.lease_expires_at, (Task.id, Task.owner, Task.created_at)
    never, over, impossible = free_leases(Task, _now, _too_far)
    open_ones = select(*columns).where(Task.node == _node, is_open(Task), *of)
    # A literal number: with a parameter, PostgreSQL plans a prepared statement for any number of rows.
    window = literal_column(str(_WINDOW), Integer)
    branches = (
        open_ones.where(never).order_by(lease, Task.created_at),
        open_ones.where(over).order_by(lease, Task.created_at),
        open_ones.where(impossible).order_by(lease.desc(), Task.created_at.desc()),
    )
    return union_all(*(select(branch.limit(window).subquery()) for branch in branches)).subquery("waiting")


def _next_in_order(*of: Any) -> Select[Any]:
    """The next task among the first that wait, counted as if those before it already ran."""
    busy, waiting = _running(), _waiting(*of)
    turn = func.coalesce(busy.c.running, 0) - 1
    turn += func.row_number().over(partition_by=waiting.c.owner, order_by=(waiting.c.created_at, waiting.c.id))
    ranked = select(waiting.c.id, waiting.c.created_at, turn.label("turn"), func.count().over().label("seen"))
    all_ones = ranked.outerjoin_from(waiting, busy, busy.c.owner == waiting.c.owner).cte("ranked")
    in_turn = select(all_ones).where(all_ones.c.turn < _limit)
    in_turn = in_turn.order_by(all_ones.c.turn, all_ones.c.created_at, all_ones.c.id)
    # So few that PostgreSQL looks them up one by one, instead of reading a table of ten thousand.
    first_ones = in_turn.limit(literal_column(str(_CHOICE), Integer)).subquery("first_ones")
    return (
        select(Task.id, Task.owner, Task.attempt, Task.file_count, first_ones.c.turn, first_ones.c.seen)
        .join(first_ones, first_ones.c.id == Task.id)
        .where(claimable(Task, _now, _too_far))
        .order_by(first_ones.c.turn, first_ones.c.created_at, first_ones.c.id)
        .limit(literal_column("1", Integer))
        # A worker that claims at the same moment takes the next one.
        .with_for_update(skip_locked=True, of=Task)
    )


def _owners_in_order() -> Select[Any]:
    """Owners with a task that may be claimed, in their order. A loose scan: from each owner to the next in the index,
    however many tasks each has."""
    busy, later, one = _running(), aliased(Task), aliased(Task)
    least = select(func.min(Task.owner).label("owner")).where(Task.node == _node, is_open(Task))
    owners = least.cte("owners", recursive=True)
    following = select(func.min(later.owner)).where(later.node == _node, is_open(later), later.owner > owners.c.owner)
    owners = owners.union_all(
        select(following.scalar_subquery()).select_from(owners).where(owners.c.owner.is_not(None))
    )
    lease = one.lease_expires_at
    never, over, impossible = free_leases(one, _now, _too_far)
    of_owner = select(one.created_at).where(one.node == _node, one.owner == owners.c.owner, is_open(one))
    heads = [
        branch.limit(literal_column("1", Integer)).scalar_subquery()
        for branch in (
            of_owner.where(never).order_by(lease, one.created_at),
            of_owner.where(over).order_by(lease, one.created_at),
            of_owner.where(impossible).order_by(lease.desc(), one.created_at.desc()),
        )
    ]
    oldest = func.coalesce(*heads)
    known = select(owners.c.owner, oldest.label("oldest")).where(owners.c.owner.is_not(None)).cte("known")
    running = func.coalesce(busy.c.running, 0)
    return (
        select(known.c.owner, running.label("running"))
        .outerjoin_from(known, busy, busy.c.owner == known.c.owner)
        .where(known.c.oldest.is_not(None), running < _limit)
        .order_by(running, known.c.oldest)
        .limit(literal_column(str(_OWNERS), Integer))
    )


def _this() -> Select[*tuple[Any, ...]]:
    busy = _running()
    running = select(busy.c.running).where(busy.c.owner == Task.owner).scalar_subquery()
    return (
        select(Task.id, Task.owner, Task.attempt, Task.file_count)
        .where(Task.id == bindparam("task_id", type_=String()), Task.node == _node, claimable(Task, _now, _too_far))
        .where(func.coalesce(running, 0) < _limit)
        .with_for_update(skip_locked=True, of=Task)
    )


_FIRST = _next_in_order()
_FIRST_OF_OWNER = _next_in_order(Task.owner == bindparam("owner", type_=String()))
_OWNERS_IN_ORDER = _owners_in_order()
_THIS = _this()
