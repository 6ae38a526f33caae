"""POST /api/upload/videos: the documented upload, streamed into the store.

Rule: every file of the form is judged by itself; the accepted ones become one task, the others are listed with reasons.
A form that is cut off leaves nothing. The answer to a form is data first (`Answer`), which is stored
where the form has a key, and gets its sentences when it is sent.
"""

import contextlib
from functools import partial
from typing import Any

import structlog
from sqlalchemy.exc import OperationalError
from starlette.responses import JSONResponse, Response

from server import filenames, media_types
from server.auth.forward import UploadQuestion
from server.auth.grants import fingerprint
from server.auth.principal import Principal
from server.bootstrap import Services
from server.database.session import is_full
from server.errors import (
    ContentEncodingUnsupportedError,
    FieldInvalidError,
    FileEmptyError,
    FileTooLargeError,
    FormStorageFullError,
    FormTimeoutError,
    GrantMismatchError,
    GrantUsedError,
    IdempotencyMismatchError,
    MediaTypeUnsupportedError,
    MethodNotAllowedError,
    NoFileError,
    NoValidFileError,
    StorageFullError,
    TooManyFilesError,
    TransferEncodingUnsupportedError,
    UnavailableError,
)
from server.messages import sentence
from server.transport.body import End
from server.tus.client_kind import client_kind
from server.tus.passthrough import KEY as PASSTHROUGH
from server.tus.passthrough import MOST_BYTES, of_field
from server.tus.protocol import check_content_coding
from server.uploads.forms import Form
from server.uploads.idempotency import HEADER, Answer, parse_key
from server.uploads.service import ClientGoneError
from server.web import grant_terms
from server.web.access import Access
from server.web.creation_hooks import CreationHooks
from server.web.described import DescribedRoute
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, language
from server.web.form_page import FormPages
from server.web.form_parser import FormParser, Part
from server.web.middleware.cors import for_api
from server.web.middleware.proxy import base_url
from server.web.middleware.traces import TRACE
from server.web.openapi.forms import FORM, FORM_OF_GRANT

PATH = "/api/upload/videos"
FIELD = "videos"
_OF_ONE_FILE = (
    MediaTypeUnsupportedError,
    FileEmptyError,
    FileTooLargeError,
    TooManyFilesError,
    TransferEncodingUnsupportedError,
    ContentEncodingUnsupportedError,
    GrantMismatchError,
)
# As Stripe has it; the draft of the IETF has no header for this.
_REPLAYED = {"Idempotent-Replayed": "true"}

_log = structlog.stdlib.get_logger("videodock.web")


def routes(services: Services, pages: FormPages) -> list[DescribedRoute]:
    """The one route, in both spellings, and the same below the token of a grant."""
    form = _FormRoute(services)

    async def handle(call: Call) -> Response:
        return pages.shown(await form.upload(call), call.scope)

    cors = for_api(services.settings, "POST")
    made = []
    for path, operations in ((PATH, FORM), (PATH + "/g/{grant}", FORM_OF_GRANT)):
        served = endpoint(handle, pages.refuse, route=path, intake=services.intake, cors=cors)
        made += [
            DescribedRoute(spelling, served, operations, shown_as=path, preflight=True)
            for spelling in (path, path + "/")
        ]
    return made


class _FormRoute:
    def __init__(self, services: Services) -> None:
        self._access = Access(services)
        self._grants = services.auth.grants
        self._forms = services.forms
        self._hooks = CreationHooks(services)
        self._metrics = services.metrics
        self._settings = services.settings

    async def upload(self, call: Call) -> Response:
        if call.head.method != "POST":
            raise MethodNotAllowedError(method=call.head.method, allowed="POST, OPTIONS")
        principal = await self._access.known_creator(call.scope, call.request.path_params.get("grant"))
        check_content_coding(call.head)
        if principal is None:
            question = UploadQuestion(protocol="form", size=call.head.body_length, type=call.head.content_type)
            principal = await self._access.ask(call.scope, question)
        reader = FormParser(call.body, call.head.get("Content-Type"), self._settings.body_idle_timeout)
        try:
            return await self._receive(call, reader, principal)
        except StorageFullError:
            raise FormStorageFullError from None
        except OperationalError as error:
            if is_full(error):
                raise FormStorageFullError from None
            raise
        finally:
            self._metrics.received_bytes.labels("multipart").inc(reader.received)

    async def _receive(self, call: Call, reader: FormParser, principal: Principal) -> Response:
        raw = call.head.get(HEADER)
        key = self._key(principal, None if raw is None else parse_key(raw))
        length = call.head.get("Content-Length") or ""
        asked = int(length) if length.isdecimal() else 0
        rate = await self._access.count_creation(call.scope, principal)
        async with self._forms.receive(principal.owner, key, asked, grant_terms.terms(principal)) as form:
            if form.earlier is None:  # a repeat creates nothing
                await self._hooks.check_form(call.scope, principal, call.head)
            form.passthrough = grant_terms.passthrough(principal)
            form.client = client_kind(call.head.get("User-Agent"))
            answer = await self._take_all(form, reader, principal)
            self._check_end(reader)
            answered = await self._finish(form, answer, principal)
        task_id = answered["task_id"]
        if task_id is not None:
            call.scope["state"][TRACE] = task_id
        segment = None if task_id is None else await self._access.signed_task(task_id)
        response = _response(call, answered, segment)
        response.headers.update(rate)
        if form.earlier is not None:
            _log.info("form_answered_again", task_id=form.earlier.answer["task_id"])
            response.headers.update(_REPLAYED)
        return response

    def _key(self, principal: Principal, given: str | None) -> str | None:
        """The key of a form. Those of a grant are its own: another phone of the owner neither sees nor blocks them.

        A grant of one upload is its own key: the same form, sent again after a lost answer, is the same task.
        """
        grant = principal.grant
        if grant is None:
            return given
        if grant.uploads == 1:
            return f"grant {grant.id}"  # with a space, which no client's key has
        return None if given is None else f"grant {grant.id} {given}"

    async def _finish(self, form: Form, answer: Answer, principal: Principal) -> Answer:
        """End the form; by a grant, each of its files takes a place there. Raises `GrantUsedError`."""
        grant = principal.grant
        if grant is None:
            return await form.finish(answer)
        marks = [fingerprint("form", form.task_id, n) for n in range(len(form.taken))]
        try:
            return await form.finish(answer, partial(self._grants.take_all, grant, marks))
        except IdempotencyMismatchError:
            if grant.uploads > 1:
                raise
            raise GrantUsedError(uploads=1) from None

    async def _take_all(self, form: Form, reader: FormParser, principal: Principal) -> Answer:
        invalid: list[dict[str, Any]] = []
        too_large = False
        is_set = False
        async for part in reader.parts():
            if part.name == PASSTHROUGH and part.filename is None:
                if is_set:
                    raise FieldInvalidError(field=PASSTHROUGH, reason="field_repeated")
                is_set = True
                given = await _passthrough(part)
                # That of the grant or of the backend counts.
                form.passthrough = form.passthrough or given
                continue
            filename = await _file_name(part) if part.name == FIELD else None
            if filename is None:
                continue
            try:
                refusal = part.head.refusal or grant_terms.refusal_of_name(principal, filename)
                await form.receive_file(filename, part, refusal)
            except _OF_ONE_FILE as error:
                too_large |= isinstance(error, FileTooLargeError)
                name = filenames.display(filename)
                invalid.append({"name": name, "code": error.code, "params": error.params})
        return {
            "task_id": form.task_id if form.taken else None,
            "uploaded_files": len(form.taken),
            "too_large": too_large,
            "invalid": invalid,
        }

    def _check_end(self, reader: FormParser) -> None:
        if reader.cut is End.GONE:
            raise ClientGoneError
        if reader.cut is End.IDLE:
            raise FormTimeoutError(seconds=f"{self._settings.body_idle_timeout:g}")
        if reader.cut is not None:
            raise UnavailableError(part="server")


async def _passthrough(part: Part) -> str | None:
    """The field `passthrough`. Raises `FieldInvalidError`."""
    if part.head.refusal is not None:  # it is coded
        raise FieldInvalidError(field=PASSTHROUGH, reason="text_characters")
    value, _ = await part.peek(MOST_BYTES + 1)
    return of_field(value)


async def _file_name(part: Part) -> str | None:
    """The name under which a file of the field is stored; None where the part is not a file.

    A file field that was left empty is sent with an empty name and without a byte. A part that is declared a video and
    has no name gets one, `video` with the extension of its type: the declared one, else that of its first bytes.
    """
    if part.filename:
        return part.filename
    declared = part.head.media_type
    kind = media_types.by_media_type(declared)
    if kind is None and not declared.startswith("video/"):
        return None
    head, _ = await part.peek(media_types.SNIFF_BYTES)
    if part.filename is not None and not head:
        return None
    with contextlib.suppress(MediaTypeUnsupportedError):
        kind = kind or media_types.verify(None, head)
    extension = kind.extensions[0] if kind else declared.partition("/")[2].removeprefix("x-")
    return f"{filenames.FALLBACK}.{extension}"


def _response(call: Call, answer: Answer, segment: str | None) -> Response:
    """An answer in the reader's language. With `segment` it has the URL of the status, for a client that has no
    credential by then."""
    if not answer["uploaded_files"] and not answer["invalid"]:
        return api_response(NoFileError(), call.scope)
    refused = _refused(call, answer["invalid"])
    if not answer["uploaded_files"]:
        return api_response(NoValidFileError(too_large=answer["too_large"]), call.scope, **refused)
    content = {
        "success": True,
        "message": sentence("upload_accepted", {}, language(call.scope, "zh")),
        "task_id": answer["task_id"],
        "uploaded_files": answer["uploaded_files"],
        **refused,
    }
    if segment is not None:
        content["status_url"] = f"{base_url(call.scope)}/api/task/status/{segment}"
    return JSONResponse(content, headers={"Cache-Control": "no-store"})


def _refused(call: Call, invalid: list[dict[str, Any]]) -> dict[str, object]:
    """`invalid_files` as documented, and the same with reasons."""
    if not invalid:
        return {"invalid_files": None, "invalid_details": None}
    reader = language(call.scope, "zh")
    details = [
        {
            "name": item["name"],
            "code": item["code"],
            "message": sentence(item["code"], item["params"], reader),
        }
        for item in invalid
    ]
    return {"invalid_files": [item["name"] for item in invalid], "invalid_details": details}
