"""The parts of this room, built from the settings in one place.

Rule: nothing here decides anything; `bootstrap.py` makes it one of its own parts.
"""

from dataclasses import dataclass

from server.database.session import Database
from server.events.hub import EventHub
from server.events.redis_link import RedisLink
from server.events.task_cache import TaskCache
from server.settings import Settings

_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, repr=False)
class EventParts:
    """The parts. Close it at the end."""

    redis: RedisLink | None
    cache: TaskCache
    hub: EventHub

    @classmethod
    def open(cls, *, settings: Settings, database: Database) -> "EventParts":
        """Build everything; connects to nothing yet. Raises `StartError` when `redis_url` cannot be used."""
        redis = RedisLink.open(settings.redis_url) if settings.redis_url else None
        if redis is not None:
            database.on_events = redis.announce
        cache = TaskCache(database, redis)
        return cls(redis=redis, cache=cache, hub=EventHub(database=database, cache=cache, redis=redis))

    def close(self) -> None:
        """End what runs beside requests."""
        self.hub.stop()
        self.hub.join(_SECONDS)
        self.cache.close()
        if self.redis is not None:
            self.redis.close()
