"""The parts that every service of uploads uses.

Rule: they are built here, and nothing else is done.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from server.database.session import Database
from server.settings import Settings
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks
from server.tasks.wake import Wake
from server.uploads.completion import UploadCompletion
from server.uploads.deletion import UploadDeletion
from server.uploads.facts import UploadFacts
from server.uploads.policy import UploadPolicy
from server.uploads.quotas import OwnerQuotas
from server.uploads.repository import UploadRepository
from server.uploads.reservations import DiskReservations


@dataclass(frozen=True, kw_only=True, repr=False)
class UploadParts:
    """What an upload is, may be, becomes, and how it ends."""

    facts: UploadFacts
    quotas: OwnerQuotas
    repository: UploadRepository
    completion: UploadCompletion
    deletion: UploadDeletion

    @classmethod
    def open(
        cls,
        *,
        settings: Settings,
        database: Database,
        store: UploadStore,
        locks: UploadLocks,
        policy: UploadPolicy,
        wake: Wake,
        reservations: DiskReservations,
        node: str,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> "UploadParts":
        """Build them; connects to nothing yet."""
        facts = UploadFacts(settings=settings, database=database, store=store, clock=clock)
        quotas = OwnerQuotas(settings=settings, database=database, clock=clock)
        return cls(
            facts=facts,
            quotas=quotas,
            repository=UploadRepository(
                database=database,
                store=store,
                locks=locks,
                policy=policy,
                reservations=reservations,
                quotas=quotas,
                facts=facts,
                clock=clock,
                new_id=new_id,
            ),
            completion=UploadCompletion(
                database=database, store=store, policy=policy, locks=locks, wake=wake, facts=facts, clock=clock
            ),
            deletion=UploadDeletion(
                settings=settings,
                database=database,
                store=store,
                locks=locks,
                wake=wake,
                facts=facts,
                node=node,
                clock=clock,
            ),
        )
