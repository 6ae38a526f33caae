"""A stream of the hub."""

import asyncio

from server.events.hub import Stream
from server.events.progress import Interest


def test_a_stopped_stream_does_not_wait_again() -> None:
    """Who takes its messages after the stop, before it looks, is still told of the end at once."""

    async def told() -> bool:
        stream = Stream(Interest(None, None), 0)
        stream.stop()
        assert stream.take() == []
        return await stream.wait(0.0)

    assert asyncio.run(told())
