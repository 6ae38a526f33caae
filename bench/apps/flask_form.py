"""Flask's own way to take a form: `request.files`, then `save`. Needs Flask, which only `bench/.peers` has."""

import os
from pathlib import Path

from flask import Flask, request

_FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))

app = Flask(__name__)


def upload() -> str:
    """The one route; answers with the name of the file."""
    request.files["videos"].save(_FOLDER / "flask")
    return "flask"


app.add_url_rule("/upload", view_func=upload, methods=["POST"])
