"""Starlette's own way to take a form: `request.form()`, then copy the file to where it shall stay."""

import os
import shutil
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

_FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))


async def upload(request: Request) -> PlainTextResponse:
    """The one route; answers with the name of the file."""
    async with request.form() as form:
        file = form["videos"]
        if not isinstance(file, UploadFile):
            return PlainTextResponse("no file", 400)
        with (_FOLDER / "starlette").open("wb") as target:
            await run_in_threadpool(shutil.copyfileobj, file.file, target, 1 << 20)
    return PlainTextResponse("starlette")


app = Starlette(routes=[Route("/upload", upload, methods=["POST"])])
