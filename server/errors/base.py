"""What all errors have in common, and their kinds.

Rule: nothing here names a single refusal; `server/errors/__init__.py` lists those.
"""

from typing import ClassVar

Param = str | int | float


class VideodockError(Exception):
    """Base of all. `params` fill the sentence of `code`."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500

    def __init__(self, **params: Param) -> None:
        super().__init__(self.code, params)
        self.params = params

    @property
    def status_hint(self) -> int:
        """The HTTP status that fits; an instance may know better than its class."""
        return self.status

    @property
    def upload_offset(self) -> int | None:
        """The true offset in bytes, for errors whose response must have it."""
        return None


class ClientError(VideodockError):
    """The request is wrong; repeating it does not help."""

    status = 400


class OffsetError(ClientError):
    """A request that does not match the offset, which is in bytes."""

    status = 409

    def __init__(self, *, offset: int) -> None:
        super().__init__(offset=offset)
        self._offset = offset

    @property
    def upload_offset(self) -> int | None:
        return self._offset


class BusyError(VideodockError):
    """The server cannot do it now; repeating it after `retry_seconds` may help."""

    status = 503
    retry_seconds: ClassVar[int] = 2


class StartError(VideodockError):
    """The server cannot start. `sentence` is English, for the operator's terminal."""

    code = "start_failed"

    def __init__(self, sentence: str) -> None:
        super().__init__(reason=sentence)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


class StepError(VideodockError):
    """A step gave up on a file, for good. `code` and `params` become the file's `error`."""

    def __init__(self, code: str, **params: Param) -> None:
        self.code = code  # type: ignore[misc]  # the one error whose code is data: a child process sends it
        super().__init__(**params)
