"""POST /api/upload/videos: the documented upload, streamed into the store.

Rule: every file of the form is judged by itself; those that can be taken become one task, the others are named.
A form that does not come to its end leaves nothing behind.
"""

from dataclasses import dataclass

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server import filenames
from server.database.models import DEFAULT_OWNER
from server.errors import (
    ClientError,
    FileEmptyError,
    FileTooLargeError,
    FormTimeoutError,
    MediaTypeUnsupportedError,
    MethodNotAllowedError,
    NoFileError,
    NoValidFileError,
    TooManyFilesError,
    UnavailableError,
)
from server.forms import Form, receive_form
from server.messages import sentence
from server.services import Services
from server.transport.body import End
from server.uploads import ClientGoneError
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, language
from server.web.form_reader import FormReader

PATH = "/api/upload/videos"
FIELD = "videos"
_OF_ONE_FILE = (MediaTypeUnsupportedError, FileEmptyError, FileTooLargeError, TooManyFilesError)


@dataclass(frozen=True)
class _Invalid:
    name: str
    error: ClientError


def routes(services: Services) -> list[Route]:
    """The one route, in both spellings."""
    handle = _Upload(services).upload
    served = endpoint(handle, api_response, route=PATH, intake=services.intake)
    return [Route(PATH, served), Route(PATH + "/", served)]


class _Upload:
    def __init__(self, services: Services) -> None:
        self._uploads = services.uploads
        self._metrics = services.metrics
        self._settings = services.settings

    async def upload(self, call: Call) -> Response:
        if call.head.method != "POST":
            raise MethodNotAllowedError(method=call.head.method, allowed="POST")
        reader = FormReader(call.body, call.head.get("Content-Type"), self._settings.body_idle_timeout)
        try:
            return await self._receive(call, reader)
        finally:
            self._metrics.received_bytes.labels("multipart").inc(reader.received)

    async def _receive(self, call: Call, reader: FormReader) -> Response:
        async with receive_form(self._uploads, DEFAULT_OWNER) as form:
            invalid = await self._take_all(form, reader)
            self._check_end(reader)
            if not form.taken and not invalid:
                raise NoFileError
            refused = _refused(call, invalid)
            if not form.taken:
                too_large = any(isinstance(item.error, FileTooLargeError) for item in invalid)
                return api_response(NoValidFileError(too_large=too_large), call.scope, **refused)
            await form.finish()
        answer = {
            "success": True,
            "message": sentence("upload_accepted", {}, language(call.scope, "zh")),
            "task_id": form.task_id,
            "uploaded_files": len(form.taken),
            **refused,
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    async def _take_all(self, form: Form, reader: FormReader) -> list[_Invalid]:
        invalid: list[_Invalid] = []
        async for part in reader.parts():
            # A file field that was left empty is sent with an empty name; other fields are nobody's.
            if part.name != FIELD or not part.filename:
                continue
            try:
                await form.take(part.filename, part)
            except _OF_ONE_FILE as error:
                invalid.append(_Invalid(filenames.display(part.filename), error))
        return invalid

    def _check_end(self, reader: FormReader) -> None:
        if reader.cut is End.GONE:
            raise ClientGoneError
        if reader.cut is End.IDLE:
            raise FormTimeoutError(seconds=f"{self._settings.body_idle_timeout:g}")
        if reader.cut is not None:
            raise UnavailableError(part="server")


def _refused(call: Call, invalid: list[_Invalid]) -> dict[str, object]:
    """`invalid_files` as documented, and the same with reasons."""
    if not invalid:
        return {"invalid_files": None, "invalid_details": None}
    reader = language(call.scope, "zh")
    details = [
        {
            "name": item.name,
            "code": item.error.code,
            "message": sentence(item.error.code, item.error.params, reader),
        }
        for item in invalid
    ]
    return {"invalid_files": [item.name for item in invalid], "invalid_details": details}
