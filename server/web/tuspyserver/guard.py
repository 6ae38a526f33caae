"""tuspyserver as the tus engine: its router does the work after a guard's checks.

Rule: the guard is our own mount. It checks every request before tuspyserver sees it, and writes every response; it
passes on a request of its own making, so nothing that a client wrote reaches tuspyserver but lengths, offsets and the
body. tuspyserver's response only counts as yes or no, and a no to a request that passed is an internal error.

Imported only where `tus_engine` selects it: FastAPI alone costs a quarter of a second at the start.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.types import Message, Receive
from tuspyserver import create_tus_router

from server.bootstrap import Services
from server.transport.body import Body
from server.tus import protocol
from server.tus.protocol import Append, Create, Facts
from server.uploads.new_upload import CreationTerms
from server.uploads.service import ClientGoneError
from server.web import tus
from server.web.access import Right
from server.web.tuspyserver.storage import Creation, Errand, Reception, Storage, Termination, errand

_SHOWN_BYTES = 500


class Guard(tus.TusRoutes):
    """The mount of our own engine, in which tuspyserver creates, inspects, receives and removes uploads.

    The mount itself answers OPTIONS, which tuspyserver answers on one path only and with extensions that it does
    not have; and it joins partial uploads, which tuspyserver cannot do on any storage but its own files.
    """

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._engine = Engine(int(services.settings.tus_max_size))

    async def _insert(self, owner: str, decision: Create, terms: CreationTerms) -> Facts:
        if decision.parts:
            return await super()._insert(owner, decision, terms)
        creation = Creation(partial(super()._insert, owner, decision, terms))
        length = {"Upload-Defer-Length": "1"} if decision.length is None else {"Upload-Length": str(decision.length)}
        # Without the body, which tuspyserver would drop with another storage. It follows as a PATCH.
        await self._engine.ask("POST", creation, length)
        if creation.facts is None:
            raise RuntimeError("tuspyserver created nothing")
        return creation.facts

    def _at_rest(self, right: Right) -> Facts | None:  # noqa: ARG002  # as the base class
        return None  # each HEAD is one of the engine

    async def _inspect(self, right: Right) -> Facts:
        facts = await super()._inspect(right)
        protocol.check_upload(facts)
        await self._engine.ask("HEAD", Errand(facts))
        return facts

    async def _receive(self, right: Right, decide: Callable[[Facts], Append], body: Body) -> Facts:
        reception = Reception(body, self._settings.body_idle_timeout)

        def judge(facts: Facts) -> Append:
            decision = decide(facts)
            reception.judged(facts, decision, partial(self._engine.append, reception, decision))
            return decision

        try:
            facts = await super()._receive(right, judge, reception)
            await reception.settle(facts)
        except ClientGoneError:
            reception.check()  # tuspyserver may have left early, not the client
            raise
        finally:
            await reception.close()
        return facts

    async def _remove(self, right: Right) -> None:
        facts = await self._database.run(self._facts.of, right.id, right.owner)
        protocol.check_upload(facts)
        await self._engine.ask("DELETE", Termination(facts, partial(super()._remove, right)))


class Engine:
    """tuspyserver's router, called for one request at a time."""

    _EXPECTED: Mapping[str, int] = {"POST": 201, "HEAD": 200, "PATCH": 204, "DELETE": 204}

    def __init__(self, max_size: int) -> None:
        # It logs the metadata of each HEAD.
        logging.getLogger("tuspyserver").setLevel(logging.WARNING)
        self._app = FastAPI(openapi_url=None)
        self._app.include_router(create_tus_router(prefix=tus.PATH, max_size=max_size, storage=Storage()))

    async def append(self, reception: Reception, decision: Append) -> None:
        """One PATCH with the body of `reception`."""
        headers = {
            "Upload-Offset": str(decision.offset),
            "Content-Type": protocol.BODY_TYPE,
            # tuspyserver requires one, and trusts it for an upload without bytes.
            "Content-Length": str(decision.limit if decision.exact else 0),
        }
        if decision.length is not None:
            headers["Upload-Length"] = str(decision.length)
        await self.ask("PATCH", reception, headers, reception.receive)

    async def ask(
        self, method: str, task: Errand, headers: Mapping[str, str] | None = None, receive: Receive | None = None
    ) -> None:
        """Run one request. Raises what the errand raises, and `RuntimeError` when tuspyserver refuses."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        path = tus.PATH if task.facts is None else f"{tus.PATH}/{task.facts.id}"
        token = errand.set(task)
        try:
            await self._app(_scope(method, path, headers or {}), receive or _no_body, send)
        finally:
            errand.reset(token)
        if not sent or sent[0]["status"] != self._EXPECTED[method]:
            status = sent[0]["status"] if sent else "nothing"
            text = b"".join(message.get("body", b"") for message in sent)[:_SHOWN_BYTES]
            raise RuntimeError(f"tuspyserver answered {method} with {status}: {text.decode(errors='replace')}")


def _scope(method: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    fields = {"Host": "localhost", "Tus-Resumable": protocol.VERSION, **headers}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in fields.items()],
        "client": None,
        "server": None,
    }


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
