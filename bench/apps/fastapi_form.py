"""FastAPI's own way to take a form: an `UploadFile` parameter, then copy the file to where it shall stay."""

import os
import shutil
from pathlib import Path

from fastapi import FastAPI, UploadFile
from fastapi.responses import PlainTextResponse

_FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))

app = FastAPI()


@app.post("/upload")
def upload(videos: UploadFile) -> PlainTextResponse:
    """The one route, in FastAPI's threadpool as its documentation does; answers with the name of the file."""
    with (_FOLDER / "fastapi").open("wb") as target:
        shutil.copyfileobj(videos.file, target, 1 << 20)
    return PlainTextResponse("fastapi")
