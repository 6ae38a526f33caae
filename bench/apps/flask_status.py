"""The status of a task in Flask, with the statements and the JSON of Videodock. Needs Flask, which only `bench/.peers`
has, and Videodock's own packages."""

import os

from flask import Flask, Response, jsonify, request

from server.database.session import Database
from server.tasks import status, status_rows

_database = Database(os.environ["BENCH_DATABASE"], 8)

app = Flask(__name__)


def task_status(task_id: str) -> Response:
    """The one route."""
    with _database.look() as connection:
        rows = status_rows.look(connection, task_id)
    if rows is None:
        return Response(status=404)
    answer: Response = jsonify(status.as_json(rows, status.Places(request.host_url.rstrip("/"), None, {}), "zh"))
    answer.headers["Cache-Control"] = "no-store"
    return answer


app.add_url_rule("/api/task/status/<task_id>", view_func=task_status)
