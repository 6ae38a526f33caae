"""The hooks `pre_create`: asked before an upload or a form is created.

Rules:

- They take `pre_create_time_limit` seconds at most for one creation, which waits for its turn as long again at most.
  When a hook fails, or the turn does not come, the setting `pre_create_failure` decides. After three failures of a hook
  in a row it decides at once for half a minute, without asking that hook. A turn that does not come is no failure of
  it: otherwise many creations at once would end a hook that is well.
- Each serving process has a standing child process for each hook. Without a hook nothing is started, and nothing waits.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import structlog

from server import threads
from server.errors import RefusedByHookError, UnavailableError
from server.events.counts import CountCall, uncounted
from server.events.hook_process import HookError, HookProcess, HookTimeoutError, registered
from server.hooks import Creation
from server.settings import Settings

PRE_CREATE = "pre_create"
_OPEN_AFTER = 3
_PAUSE_SECONDS = 30.0

_log = structlog.stdlib.get_logger("videodock.hooks")


class PreCreate:
    """The hooks of one serving process."""

    def __init__(self, settings: Settings, count: CountCall = uncounted) -> None:
        self._count = count
        self._seconds = settings.pre_create_time_limit
        self._refuses = settings.pre_create_failure == "refuse"
        self._asked: Sequence[_Asked] = ()
        self._pool: ThreadPoolExecutor | None = None

    def start(self) -> None:
        """Find the hooks, and start their processes. Blocking, for some milliseconds."""
        self._asked = [_Asked(HookProcess(hook)) for hook in registered(PRE_CREATE)]
        if self._asked:
            self._pool = ThreadPoolExecutor(1, "pre-create")
            _log.info("hooks_found", hooks=[one.process.hook.value for one in self._asked])
        for one in self._asked:
            try:
                one.process.start()
            except HookError as error:
                _log.error("hook_failed", hook=one.process.hook.value, reason=str(error))

    @property
    def is_used(self) -> bool:
        """Whether there is a hook."""
        return bool(self._asked)

    async def check(self, creation: Creation) -> None:
        """Ask all hooks. Raises `RefusedByHookError`, and `UnavailableError` if the setting says so."""
        if self._pool is None:
            return
        await threads.run(self._ask, creation, time.monotonic() + self._seconds, pool=self._pool)

    def _ask(self, creation: Creation, last: float) -> None:
        """Ask them, unless it is later than `last`."""
        argument, now = asdict(creation), time.monotonic()
        for one in self._asked:
            try:
                if now > last:
                    raise HookTimeoutError("it is busy with other creations")  # one place decides
                refusal = one.ask(argument, now + self._seconds)
            except HookError as error:
                self._count(PRE_CREATE, "timeout" if isinstance(error, HookTimeoutError) else "failed")
                _log.warning("hook_failed", hook=one.process.hook.value, reason=str(error), owner=creation.owner)
                if self._refuses:
                    raise UnavailableError(part="hook") from None
                continue
            self._count(PRE_CREATE, "ok" if refusal is None else "refused")
            if refusal is not None:
                raise RefusedByHookError(explanation=refusal)

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        for one in self._asked:
            one.process.close()


class _Asked:
    """A hook, and how it does."""

    def __init__(self, process: HookProcess) -> None:
        self.process = process
        self._failures = 0
        self._again_at = 0.0

    def ask(self, argument: dict[str, object], deadline: float) -> str | None:
        """As `HookProcess.call`."""
        if self._failures >= _OPEN_AFTER and time.monotonic() < self._again_at:
            raise HookError("it has failed again and again")
        try:
            refusal = self.process.call(argument, deadline)
        except HookError:
            self._failures += 1
            self._again_at = time.monotonic() + _PAUSE_SECONDS
            raise
        self._failures = 0
        return refusal
