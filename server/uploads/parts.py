"""All parts of this room, built from the settings in one place.

Rule: nothing here decides anything; `bootstrap.py` makes them its own.
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
from server.uploads.concatenation import FinalService
from server.uploads.deletion import UploadDeletion
from server.uploads.facts import UploadFacts
from server.uploads.forms import FormService
from server.uploads.idempotency import IdempotencyKeys
from server.uploads.policy import UploadPolicy
from server.uploads.progress import ProgressWriter
from server.uploads.quotas import OwnerQuotas
from server.uploads.repository import UploadRepository
from server.uploads.reservations import DiskReservations
from server.uploads.service import UploadService


@dataclass(frozen=True, kw_only=True, repr=False)
class UploadParts:
    """What an upload is, may be, becomes, and how it ends; and the services that clients reach."""

    policy: UploadPolicy
    progress: ProgressWriter
    facts: UploadFacts
    quotas: OwnerQuotas
    repository: UploadRepository
    completion: UploadCompletion
    deletion: UploadDeletion
    uploads: UploadService
    finals: FinalService
    form_keys: IdempotencyKeys
    forms: FormService

    @classmethod
    def open(
        cls,
        *,
        settings: Settings,
        database: Database,
        store: UploadStore,
        locks: UploadLocks,
        wake: Wake,
        reservations: DiskReservations,
        node: str,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> "UploadParts":
        """Build them; connects to nothing yet."""
        policy = UploadPolicy(settings, node, new_id)
        progress = ProgressWriter(database, is_quick=store.is_quick)
        facts = UploadFacts(settings=settings, database=database, store=store, clock=clock)
        quotas = OwnerQuotas(settings=settings, database=database, clock=clock)
        repository = UploadRepository(
            database=database,
            store=store,
            locks=locks,
            policy=policy,
            reservations=reservations,
            quotas=quotas,
            facts=facts,
            clock=clock,
            new_id=new_id,
        )
        completion = UploadCompletion(
            database=database, store=store, policy=policy, locks=locks, wake=wake, facts=facts, clock=clock
        )
        deletion = UploadDeletion(
            settings=settings,
            database=database,
            store=store,
            locks=locks,
            wake=wake,
            facts=facts,
            node=node,
            clock=clock,
        )
        uploads = UploadService(
            settings=settings,
            database=database,
            store=store,
            locks=locks,
            policy=policy,
            progress=progress,
            quotas=quotas,
            repository=repository,
            completion=completion,
            facts=facts,
            deletion=deletion,
            clock=clock,
            new_id=new_id,
        )
        finals = FinalService(
            settings=settings,
            database=database,
            store=store,
            locks=locks,
            policy=policy,
            repository=repository,
            completion=completion,
            facts=facts,
            deletion=deletion,
            uploads=uploads,
            clock=clock,
            new_id=new_id,
        )
        form_keys = IdempotencyKeys(settings=settings, database=database, locks=locks, clock=clock)
        forms = FormService(
            settings=settings,
            database=database,
            store=store,
            locks=locks,
            policy=policy,
            progress=progress,
            reservations=reservations,
            quotas=quotas,
            repository=repository,
            completion=completion,
            facts=facts,
            keys=form_keys,
            new_id=new_id,
        )
        return cls(
            policy=policy,
            progress=progress,
            facts=facts,
            quotas=quotas,
            repository=repository,
            completion=completion,
            deletion=deletion,
            uploads=uploads,
            finals=finals,
            form_keys=form_keys,
            forms=forms,
        )
