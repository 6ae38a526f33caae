"""All parts of this room, built from the settings in one place.

Rule: nothing here decides anything; `bootstrap.py` makes it one of its own parts.
"""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from server.auth.parts import AuthParts
from server.database.session import Database
from server.events import post_hooks
from server.events.bodies import Bodies
from server.events.deliverer import Deliverer
from server.events.follower import Follower
from server.events.pre_create import PreCreate
from server.events.sender import Sender
from server.events.webhooks import Webhooks
from server.settings import Settings


@dataclass(frozen=True, kw_only=True, repr=False)
class EventParts:
    """The parts. Close it at the end."""

    webhooks: Webhooks
    make_followers: Callable[[], Sequence[Follower]]
    """Makes what runs beside a leader; it is started by it."""
    pre_create: PreCreate
    _sender: Sender

    @classmethod
    def open(
        cls,
        *,
        settings: Settings,
        database: Database,
        auth: AuthParts,
        node: str,
        clock: Callable[[], datetime],
    ) -> "EventParts":
        """Build everything; connects to nothing, and starts nothing yet."""
        sender = Sender(allow_private=settings.webhook_allow_private == "on")
        bodies = Bodies(settings=settings, database=database, signatures=auth.signatures)

        def make_followers() -> Sequence[Follower]:
            # As the workers of tasks are named: whoever leads next in this folder knows that this process has ended.
            worker = f"{node}/{socket.gethostname()}/{os.getpid()}"
            deliverer = Deliverer(database=database, bodies=bodies, sender=sender, worker=worker, clock=clock)
            seconds = settings.hook_time_limit
            hooks = post_hooks.find(database=database, bodies=bodies, worker=worker, seconds=seconds, clock=clock)
            return [deliverer, *hooks]

        return cls(
            webhooks=Webhooks(settings=settings, database=database, sender=sender, clock=clock),
            make_followers=make_followers,
            pre_create=PreCreate(settings),
            _sender=sender,
        )

    def close(self) -> None:
        """End what runs beside requests."""
        self.pre_create.close()
        self._sender.close()
