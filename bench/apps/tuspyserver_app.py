"""tuspyserver as its documentation starts it: its router in a FastAPI application."""

import os

from fastapi import FastAPI
from tuspyserver import create_tus_router

app = FastAPI()
app.include_router(create_tus_router(prefix="files", files_dir=os.environ.get("BENCH_FOLDER", "."), max_size=1 << 40))
