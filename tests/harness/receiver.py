"""A receiver of webhooks, which verifies each message with the public library."""

import json
from typing import Any

from standardwebhooks import Webhook

from tests.harness.backend import Asked, Backend, Behaviour, answers

TAKES = answers(200, b"thanks")


class Receiver(Backend):
    """Keeps every message that came."""

    def __init__(self, behaviour: Behaviour = TAKES) -> None:
        super().__init__(behaviour)

    def verified(self, secret: str) -> list[dict[str, Any]]:
        """The bodies of all messages; each must bear a valid signature."""
        library = Webhook(secret)
        return [library.verify(asked.body, dict(asked.headers)) for asked in self.asked]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The same without looking at signatures."""
        return [json.loads(asked.body) for asked in self.asked]

    @property
    def types(self) -> list[str]:
        """Their types, in order."""
        return [body["type"] for body in self.bodies]

    @property
    def ids(self) -> list[str]:
        """Their `webhook-id`, in order."""
        return [asked.headers["webhook-id"] for asked in self.asked]


def takes_but(failing: Behaviour, times: int) -> Behaviour:
    """Fails so often, then takes everything."""
    left = [times]

    def behave(backend: Backend, connection: Any, asked: Asked) -> None:
        left[0] -= 1
        (failing if left[0] >= 0 else TAKES)(backend, connection, asked)

    return behave
