"""The peers, one class each, and the two that show what is possible."""

import importlib.util
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.servers.base import PEERS, ROOT, Ability, Answer, PythonServer, Role, Server, output, versions

_BODY_BYTES = 4_000_000_000
_APPS = ROOT / "bench" / "apps"
_NODE = ROOT / "bench" / "node"
_PYTHON = PEERS / "venv" / "bin" / "python"
_UPLOADS = frozenset({Ability.BODY, Ability.TUS})
_HINT = "`make bench-peers` installs it"


class SpliceLoop(PythonServer):
    """The bare loop of `bench/apps/splice_loop.py`."""

    name = "splice-loop"
    label = "bare splice loop"
    role = Role.LIMIT
    abilities = frozenset({Ability.BODY, Ability.TUS, Ability.SHA1, Ability.FORM})

    @classmethod
    def version(cls) -> str:
        return f"Python {sys.version.split()[0]}"

    def command(self) -> list[str]:
        return [sys.executable, str(_APPS / "splice_loop.py"), str(self.port), str(self.folder / "data")]


class PlainAsgi(PythonServer):
    """`receive()` and `os.pwrite` on uvicorn."""

    name = "plain-asgi"
    label = "plain ASGI on uvicorn"
    role = Role.LIMIT
    abilities = _UPLOADS

    @classmethod
    def version(cls) -> str:
        return versions("uvicorn", "uvloop", "httptools")

    def command(self) -> list[str]:
        return self.uvicorn("bench.apps.plain_asgi:app")


class Tuspyserver(PythonServer):
    """tuspyserver in FastAPI on uvicorn."""

    name = "tuspyserver"
    label = "tuspyserver"
    abilities = _UPLOADS
    durable = "fsync of its sidecar file in each request, none of the bytes"

    @classmethod
    def version(cls) -> str:
        return versions("tuspyserver", "fastapi", "uvicorn")

    def command(self) -> list[str]:
        return self.uvicorn("bench.apps.tuspyserver_app:app")


class StarletteForm(PythonServer):
    """Starlette's `request.form()`."""

    name = "starlette-form"
    label = "Starlette request.form()"
    abilities = frozenset({Ability.FORM})

    @classmethod
    def missing(cls) -> str | None:
        return None if importlib.util.find_spec("python_multipart") else _HINT

    @classmethod
    def version(cls) -> str:
        return versions("starlette", "python-multipart", "uvicorn")

    def command(self) -> list[str]:
        return self.uvicorn("bench.apps.starlette_form:app")


class FastapiForm(PythonServer):
    """FastAPI's `UploadFile`."""

    name = "fastapi-form"
    label = "FastAPI UploadFile"
    abilities = frozenset({Ability.FORM})

    @classmethod
    def missing(cls) -> str | None:
        return None if importlib.util.find_spec("python_multipart") else _HINT

    @classmethod
    def version(cls) -> str:
        return versions("fastapi", "python-multipart", "uvicorn")

    def command(self) -> list[str]:
        return self.uvicorn("bench.apps.fastapi_form:app")


class FlaskForm(PythonServer):
    """Flask's `request.files` behind gunicorn's threads."""

    name = "flask-form"
    label = "Flask + gunicorn gthread"
    abilities = frozenset({Ability.FORM})

    @classmethod
    def missing(cls) -> str | None:
        return None if (PEERS / "venv" / "bin" / "gunicorn").exists() else _HINT

    @classmethod
    def version(cls) -> str:
        return _installed("flask", "werkzeug", "gunicorn")

    def command(self) -> list[str]:
        options = ["--worker-class", "gthread", "--workers", "1", "--threads", "8", "--timeout", "600"]
        bind = ["--bind", f"127.0.0.1:{self.port}", "--log-level", "warning"]
        return [str(_PYTHON), "-m", "gunicorn", *options, *bind, "bench.apps.flask_form:app"]


class ResumableUpload(Server):
    """resumable-upload's own server."""

    name = "resumable-upload"
    label = "resumable-upload"
    durable = "SQLite's default for its table, no fsync of the bytes"
    abilities = _UPLOADS | {Ability.SHA1}
    largest_body = _BODY_BYTES

    @classmethod
    def missing(cls) -> str | None:
        return None if (PEERS / "venv" / "bin" / "resumable-upload").exists() else _HINT

    @classmethod
    def version(cls) -> str:
        return _installed("resumable-upload")

    def command(self) -> list[str]:
        places = ["--upload-dir", str(self.folder / "data"), "--db-path", str(self.folder / "uploads.db")]
        serve = ["serve", "--host", "127.0.0.1", "--port", str(self.port), "--log-level", "WARNING"]
        return [str(_PYTHON), "-m", "resumable_upload", *serve, *places]


class TusNode(Server):
    """@tus/server with @tus/file-store."""

    name = "tus-node"
    label = "@tus/server"
    abilities = _UPLOADS

    @classmethod
    def missing(cls) -> str | None:
        if shutil.which("node") is None:
            return "Node is not installed"
        return None if (_NODE / "node_modules" / "@tus" / "server").exists() else _HINT

    @classmethod
    def version(cls) -> str:
        found = output(["node", "-p", "require('./bench/node/node_modules/@tus/server/package.json').version"])
        return f"@tus/server {found}, Node {output(['node', '--version']).removeprefix('v')}"

    def command(self) -> list[str]:
        return ["node", str(_NODE / "tus_server.mjs"), str(self.port), str(self.folder / "data")]


class Tusd(Server):
    """tusd, the reference server, in Go."""

    name = "tusd"
    label = "tusd"
    abilities = _UPLOADS
    mount = "/files/"

    @classmethod
    def missing(cls) -> str | None:
        return None if (PEERS / "bin" / "tusd").exists() else _HINT

    @classmethod
    def version(cls) -> str:
        return " ".join(output([str(PEERS / "bin" / "tusd"), "-version"]).split()[:2])

    def command(self) -> list[str]:
        where = ["-host", "127.0.0.1", "-port", str(self.port), "-upload-dir", str(self.folder / "data")]
        return [str(PEERS / "bin" / "tusd"), *where, "-verbose=false"]


class Rustus(Server):
    """rustus, in Rust."""

    name = "rustus"
    label = "rustus"
    abilities = _UPLOADS | {Ability.SHA1}
    largest_body = _BODY_BYTES

    @classmethod
    def missing(cls) -> str | None:
        return None if (PEERS / "rustus" / "bin" / "rustus").exists() else _HINT

    @classmethod
    def version(cls) -> str:
        return output([str(PEERS / "rustus" / "bin" / "rustus"), "--version"])

    def command(self) -> list[str]:
        data = str(self.folder / "data")
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--data-dir", data, "--info-dir", data]
        # Its default refuses bodies above 256 KiB.
        limits = ["--max-body-size", str(_BODY_BYTES), "--log-level", "WARN"]
        return [str(PEERS / "rustus" / "bin" / "rustus"), *where, *limits]


class Nginx(Server):
    """nginx that writes a body to a file and tells a backend its name; the backend is nginx too."""

    name = "nginx"
    label = "nginx, body to file"
    abilities = frozenset({Ability.BODY})

    @classmethod
    def missing(cls) -> str | None:
        return None if _nginx() else _HINT

    @classmethod
    def version(cls) -> str:
        return output([_nginx() or "", "-v"]).rpartition(" ")[2]

    def command(self) -> list[str]:
        self._configure()
        return [_nginx() or "", "-c", str(self.folder / "nginx.conf"), "-p", str(self.folder), "-e", "stderr"]

    def create_request(self, length: int) -> bytes:
        return b""

    def created(self, answer: Answer | None) -> str:
        return "/upload"

    def append_request(self, target: str, offset: int, length: int, more: Mapping[str, str]) -> bytes:
        return self.request("POST", target, more, length)

    def check_appended(self, answer: Answer, offset: int) -> None:
        answer.expect(204)

    def head_request(self, target: str) -> bytes:
        return self.request("HEAD", "/look", {})

    def stored(self, target: str, answer: Answer | None) -> Path:
        assert answer is not None
        return Path(answer.headers["x-file"])

    def _configure(self) -> None:
        temporary = "".join(
            f"    {kind}_temp_path {self.folder}/{kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi")
        )
        # Run by root it would write as another user, who may not enter the folder.
        (self.folder / "nginx.conf").write_text(f"""daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 10000;
pid {self.folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {self.folder}/data;
    client_max_body_size 0;
    client_body_timeout 120s;
{temporary}
    server {{
        listen 127.0.0.1:{self.port} backlog=2048;
        location /look {{ return 200; }}
        location /upload {{
            client_body_in_file_only on;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-File $request_body_file;
            proxy_pass http://unix:{self.folder}/backend;
        }}
    }}
    server {{
        listen unix:{self.folder}/backend backlog=4096;
        location / {{ add_header X-File $http_x_file always; return 204; }}
    }}
}}
""")


def _nginx() -> str | None:
    own = PEERS / "nginx" / "usr" / "sbin" / "nginx"
    return str(own) if own.exists() else shutil.which("nginx")


def _installed(*names: str) -> str:
    text = f"import importlib.metadata as m; print(', '.join(n + ' ' + m.version(n) for n in {names!r}))"
    return output([str(_PYTHON), "-c", text])
