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
from server.events.hub import EventHub
from server.events.pre_create import PreCreate
from server.events.redis_link import RedisLink
from server.events.sender import Sender
from server.events.task_cache import TaskCache
from server.events.webhooks import Webhooks
from server.observability import Metrics
from server.settings import Settings
from server.tracing import Tracing

_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, repr=False)
class EventParts:
    """The parts. Close it at the end."""

    redis: RedisLink | None
    cache: TaskCache
    hub: EventHub
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
        host: str,
        clock: Callable[[], datetime],
        tracing: Tracing,
        metrics: Metrics,
    ) -> "EventParts":
        """Build everything; connects to nothing, and starts nothing yet.

        Raises `StartError` when `redis_url` cannot be used.
        """
        redis = RedisLink.open(settings.redis_url) if settings.redis_url else None
        if redis is not None:
            database.on_events = redis.announce
        cache = TaskCache(database, redis)
        sender = Sender(allow_private=settings.webhook_allow_private == "on")
        bodies = Bodies(settings=settings, database=database, signatures=auth.signatures)

        def make_followers() -> Sequence[Follower]:
            # Named as the workers of tasks are: the next leader of this folder then knows that this process has ended.
            worker = f"{host}/{socket.gethostname()}/{os.getpid()}"
            deliverer = Deliverer(
                database=database,
                bodies=bodies,
                sender=sender,
                worker=worker,
                clock=clock,
                tracing=tracing,
                count=metrics.count_deliveries,
            )
            hooks = post_hooks.find(
                database=database,
                bodies=bodies,
                worker=worker,
                seconds=settings.hook_time_limit,
                clock=clock,
                count=metrics.count_hook_call,
            )
            return [deliverer, *hooks]

        return cls(
            redis=redis,
            cache=cache,
            hub=EventHub(database=database, cache=cache, redis=redis),
            webhooks=Webhooks(settings=settings, database=database, sender=sender, clock=clock),
            make_followers=make_followers,
            pre_create=PreCreate(settings, metrics.count_hook_call),
            _sender=sender,
        )

    def close(self) -> None:
        """End what runs beside requests."""
        self.pre_create.close()
        self._sender.close()
        self.hub.stop()
        self.hub.join(_SECONDS)
        self.cache.close()
        if self.redis is not None:
            self.redis.close()
