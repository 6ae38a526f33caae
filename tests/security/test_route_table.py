"""Every route, asked by every kind of caller: what each of them gets. A new route needs rows here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.app import create_app
from server.settings import Settings
from tests.conftest import StartServer
from tests.security.callers import KINDS, PATCH, TUS, Callers, id_of

Make = Callable[[Callers], str]

# What callers get who have no valid credential.
UNKNOWN = {"none": 401, "expired": 401, "revoked": 401, "wrong": 401}


def read(well: int = 200) -> dict[str, int]:
    """Only who may read, and what is theirs."""
    found = {"owner": well, "reader": well, "admin": well, "uploader": 403, "other": 404, "grant": 404}
    return {**UNKNOWN, **found}


def write(well: int) -> dict[str, int]:
    """Only who may upload, and what is theirs."""
    found = {"owner": well, "uploader": well, "admin": well, "reader": 403, "other": 404, "grant": 404}
    return {**UNKNOWN, **found}


def manage(well: int) -> dict[str, int]:
    """Only who may cancel and delete, and what is theirs."""
    found = {"owner": well, "admin": well, "uploader": 403, "reader": 403, "other": 404, "grant": 404}
    return {**UNKNOWN, **found}


def listing() -> dict[str, int]:
    """Whoever may read has a list of their own."""
    return {**UNKNOWN, "owner": 200, "other": 200, "reader": 200, "admin": 200, "uploader": 403, "grant": 403}


def create(well: int, *, by_grant: int) -> dict[str, int]:
    """Everybody who may upload creates what is their own."""
    found = {"owner": well, "uploader": well, "other": well, "admin": well, "reader": 403, "grant": by_grant}
    return {**UNKNOWN, **found}


def everybody(well: int) -> dict[str, int]:
    """Whoever asks."""
    return dict.fromkeys(KINDS, well)


@dataclass(frozen=True)
class Row:
    """A request on a route. `make` gives the path, for a new thing of alice where the request changes it."""

    route: str
    method: str
    make: Make
    expected: dict[str, int]
    headers: dict[str, str] | None = None
    json: object = None
    files: bool = False


def opened(callers: Callers) -> str:
    return "/files/" + id_of(callers.open_upload())


def whole(callers: Callers) -> str:
    return "/files/" + id_of(callers.done)


def status(callers: Callers) -> str:
    return "/api/task/status/" + id_of(callers.done)


def following(callers: Callers) -> str:
    return "/api/task/events/" + id_of(callers.done)


def at(path: str) -> Make:
    return lambda _: path


def webhook(below: str = "") -> Make:
    """A new webhook of alice, and what is below it."""

    def make(callers: Callers) -> str:
        asked = {"url": "https://backend.example/", "events": ["task.completed"]}
        answer = callers.ask("POST", "/api/webhooks", "owner", json=asked)
        if answer.status_code == 409:  # as many as an owner may have
            for one in callers.ask("GET", "/api/webhooks", "owner").json()["webhooks"]:
                assert callers.ask("DELETE", f"/api/webhooks/{one['id']}", "owner").is_success
            return make(callers)
        return f"/api/webhooks/{answer.json()['webhook']['id']}{below}"

    return make


def poster(callers: Callers) -> str:
    """The poster's address without its signature."""
    url = str(callers.files(callers.done)[0]["poster_url"])
    return "/media/" + "/".join(url.split("/")[-3:])


def shared(callers: Callers) -> str:
    """The address of a new share of alice's video, for everybody."""
    made = callers.ask("POST", f"/api/task/{id_of(callers.done)}/shares", "owner", json={})
    if made.status_code == 409:  # as many as a video may have
        for one in callers.ask("GET", f"/api/task/{id_of(callers.done)}/shares", "owner").json()["shares"]:
            path = f"/api/task/{id_of(callers.done)}/shares/{one['id']}"
            assert callers.ask("DELETE", path, "owner").is_success
        return shared(callers)
    return "/api/shared/" + str(made.json()["token"])


def share(callers: Callers) -> str:
    """The address of a new share, for its owner."""
    shared(callers)
    path = f"/api/task/{id_of(callers.done)}/shares"
    return f"{path}/{callers.ask('GET', path, 'owner').json()['shares'][0]['id']}"


def shared_poster(callers: Callers) -> str:
    """The poster of a shared video."""
    found = callers.ask("GET", shared(callers), "none").json()
    return str(found["files"][0]["poster_url"])


def admin(well: int) -> dict[str, int]:
    """Only for an administrator."""
    return {**dict.fromkeys(KINDS, 403), **UNKNOWN, "admin": well}


# A grant has no right to webhooks at all, whatever the id.
OF_WEBHOOK = {"grant": 403}
APPEND = {**PATCH, "Upload-Offset": "7"}  # another offset than the upload has: whoever may append gets 409
ONE_WEBHOOK = "/api/webhooks/{webhook_id}"
SHARES = "/api/task/{task_id}/shares"
ROWS = [
    Row("/files", "OPTIONS", at("/files"), everybody(204)),
    Row("/files", "POST", at("/files"), create(201, by_grant=201), {**TUS, "Upload-Length": "10"}),
    Row("/files", "GET", at("/files"), everybody(405)),
    Row("/files/g/{grant}", "OPTIONS", at("/files/g/x"), everybody(204)),
    Row("/files/g/{grant}", "POST", at("/files/g/x"), everybody(401), {**TUS, "Upload-Length": "10"}),
    Row(
        "/files/g/{grant}",
        "POST",
        lambda callers: "/files/g/" + str(callers.grant()["token"]),
        everybody(201),
        {**TUS, "Upload-Length": "10"},
    ),
    Row("/files/{upload_id}", "OPTIONS", opened, everybody(204)),
    Row("/files/{upload_id}", "HEAD", opened, write(200), TUS),
    Row("/files/{upload_id}", "HEAD", whole, read(200)),  # as a player asks, without Tus-Resumable
    Row("/files/{upload_id}", "GET", whole, read(200)),
    Row("/files/{upload_id}", "PATCH", opened, write(409), APPEND),
    Row("/files/{upload_id}", "DELETE", opened, manage(204), TUS),
    Row("/files/{upload_id}", "POST", opened, {**write(405), "other": 405}, TUS),  # whatever the id
    Row("/files/{upload_id}", "POST", opened, write(200), {**TUS, "X-HTTP-Method-Override": "HEAD"}),
    Row("/files/{upload_id}", "POST", opened, write(409), {**APPEND, "X-HTTP-Method-Override": "PATCH"}),
    Row("/files/{upload_id}", "POST", opened, manage(204), {**TUS, "X-HTTP-Method-Override": "DELETE"}),
    Row("/files/{upload_id}", "POST", whole, read(200), {"X-HTTP-Method-Override": "GET"}),
    Row("/files/{upload_id}", "GET", opened, read(404)),
    Row("/api/upload/videos", "OPTIONS", at("/api/upload/videos"), everybody(204)),
    Row("/api/upload/videos", "POST", at("/api/upload/videos"), create(200, by_grant=200), files=True),
    Row("/api/upload/videos/", "POST", at("/api/upload/videos/"), create(200, by_grant=200), files=True),
    Row("/api/upload/videos/g/{grant}", "POST", at("/api/upload/videos/g/x"), everybody(401), files=True),
    Row("/api/upload/videos/g/{grant}/", "POST", at("/api/upload/videos/g/x/"), everybody(401), files=True),
    Row(
        "/api/upload/videos/g/{grant}",
        "POST",
        lambda callers: "/api/upload/videos/g/" + str(callers.grant()["token"]),
        everybody(200),
        files=True,
    ),
    Row("/api/task/status/{task_id:path}", "GET", status, read(200)),
    Row("/api/task/status/{task_id:path}", "HEAD", status, read(200)),
    Row("/api/task/status/{task_id:path}", "OPTIONS", status, everybody(204)),
    Row("/api/task/events/{task_id:path}", "GET", following, read(200)),
    Row("/api/task/events/{task_id:path}", "HEAD", following, everybody(405)),
    Row("/api/task/events/{task_id:path}", "OPTIONS", following, everybody(204)),
    Row("/api/events", "GET", at("/api/events"), {**read(200), "other": 200, "grant": 403}),
    Row("/api/events", "GET", at("/api/events?owner=alice"), {**read(200), "other": 403, "grant": 403}),
    Row("/api/events", "OPTIONS", at("/api/events"), everybody(204)),
    Row(
        "/api/task/cancel/{task_id:path}",
        "POST",
        lambda callers: "/api/task/cancel/" + id_of(callers.done),
        manage(409),
    ),
    Row(
        "/api/task/retry/{task_id:path}",
        "POST",
        lambda callers: "/api/task/retry/" + id_of(callers.done),
        {**manage(409), "grant": 403},
    ),
    Row(
        "/api/task/{task_id:path}",
        "PATCH",
        lambda callers: "/api/task/" + id_of(callers.done),
        {**manage(200), "grant": 403},
        json={"title": "A"},
    ),
    Row("/api/tasks", "GET", at("/api/tasks"), listing()),
    Row("/api/tasks", "GET", at("/api/tasks?owner=alice"), {**listing(), "other": 403}),
    Row("/api/tasks", "HEAD", at("/api/tasks"), listing()),
    Row("/api/tasks", "POST", at("/api/tasks"), everybody(405)),
    Row("/api/tasks", "OPTIONS", at("/api/tasks"), everybody(204)),
    Row("/api/uploads", "GET", at("/api/uploads"), listing()),
    Row("/api/uploads", "GET", at("/api/uploads?owner=alice"), {**listing(), "other": 403}),
    Row("/api/uploads", "HEAD", at("/api/uploads"), listing()),
    Row("/api/uploads", "OPTIONS", at("/api/uploads"), everybody(204)),
    Row("/api/task/{task_id:path}", "DELETE", lambda callers: "/api/task/" + id_of(callers.upload()), manage(200)),
    Row(SHARES, "GET", lambda callers: f"/api/task/{id_of(callers.done)}/shares", {**read(200), "grant": 403}),
    Row(SHARES, "HEAD", lambda callers: f"/api/task/{id_of(callers.done)}/shares", {**read(200), "grant": 403}),
    Row(
        SHARES,
        "POST",
        lambda callers: f"/api/task/{id_of(callers.done)}/shares",
        {**manage(201), "grant": 403},
        json={},
    ),
    Row(SHARES, "OPTIONS", lambda callers: f"/api/task/{id_of(callers.done)}/shares", everybody(204)),
    Row(SHARES + "/{share_id}", "DELETE", share, {**manage(200), "grant": 403}),
    Row("/api/shared/{token}", "GET", shared, everybody(200)),
    Row("/api/shared/{token}", "HEAD", shared, everybody(200)),
    Row("/api/oembed", "GET", at("/api/oembed?url=https://video.example/s/x"), everybody(404)),
    Row(
        "/api/task/{task_id}/poster",
        "PUT",
        lambda callers: f"/api/task/{id_of(callers.done)}/poster",
        {**manage(200), "grant": 403},
        json={"seconds": 0.5},
    ),
    Row(
        "/api/task/{task_id}/poster",
        "DELETE",
        lambda callers: f"/api/task/{id_of(callers.done)}/poster",
        {**manage(200), "grant": 403},
    ),
    Row("/api/reports/{name}", "GET", at("/api/reports/uploads"), listing()),
    Row("/api/reports/{name}", "GET", at("/api/reports/uploads?owner=alice"), {**listing(), "other": 403}),
    Row("/api/reports/{name}", "GET", at("/api/reports/queue"), admin(200)),
    Row("/api/admin/overview", "GET", at("/api/admin/overview"), admin(200)),
    Row("/api/admin/owners", "GET", at("/api/admin/owners"), admin(200)),
    Row("/api/admin/owners", "PATCH", at("/api/admin/owners"), admin(200), json={"owner": "zoe"}),
    Row("/api/admin/keys", "GET", at("/api/admin/keys"), admin(200)),
    Row("/api/admin/keys", "POST", at("/api/admin/keys"), admin(400), json={}),
    Row("/api/admin/keys/{key_id}", "DELETE", at("/api/admin/keys/000000000000"), admin(404)),
    Row("/api/admin/grants", "GET", at("/api/admin/grants"), admin(200)),
    Row("/api/admin/grants/{grant_id}", "DELETE", at("/api/admin/grants/000000000000"), admin(404)),
    Row("/api/admin/audit", "GET", at("/api/admin/audit"), admin(200)),
    Row("/api/admin/settings", "GET", at("/api/admin/settings"), admin(200)),
    Row("/api/admin/doctor", "GET", at("/api/admin/doctor"), admin(200)),
    Row("/media/s/{token}/{number}/{name:path}", "GET", shared_poster, everybody(200)),
    Row("/media/s/{token}/{number}/{name:path}", "OPTIONS", shared_poster, everybody(204)),
    Row("/api/config", "GET", at("/api/config"), everybody(200)),
    Row("/api/config", "HEAD", at("/api/config"), everybody(200)),
    Row("/api/config", "OPTIONS", at("/api/config"), everybody(204)),
    Row("/api/grants", "POST", at("/api/grants"), create(201, by_grant=403), json={}),
    Row("/api/webhooks", "GET", at("/api/webhooks"), {**manage(200), **OF_WEBHOOK, "other": 200}),  # their own
    Row("/api/webhooks", "HEAD", at("/api/webhooks"), {**manage(200), **OF_WEBHOOK, "other": 200}),
    Row("/api/webhooks", "POST", at("/api/webhooks"), {**manage(400), **OF_WEBHOOK, "other": 400}, json={}),
    Row("/api/webhooks", "OPTIONS", at("/api/webhooks"), everybody(204)),
    Row(ONE_WEBHOOK, "GET", webhook(), {**manage(200), **OF_WEBHOOK}),
    Row(ONE_WEBHOOK, "PATCH", webhook(), {**manage(200), **OF_WEBHOOK}, json={"enabled": False}),
    Row(ONE_WEBHOOK, "DELETE", webhook(), {**manage(200), **OF_WEBHOOK}),
    Row(ONE_WEBHOOK + "/rotate", "POST", webhook("/rotate"), {**manage(200), **OF_WEBHOOK}),
    Row(ONE_WEBHOOK + "/test", "POST", webhook("/test"), {**manage(202), **OF_WEBHOOK}),
    Row(
        ONE_WEBHOOK + "/replay",
        "POST",
        webhook("/replay"),
        {**manage(202), **OF_WEBHOOK},
        json={"since": "2026-01-01T00:00:00Z"},
    ),
    Row(ONE_WEBHOOK + "/deliveries", "GET", webhook("/deliveries"), {**manage(200), **OF_WEBHOOK}),
    Row("/media/{task_id}/{file_id}/{name:path}", "GET", poster, {**read(200), "grant": 403}),  # whatever the id
    Row("/media/{task_id}/{file_id}/{name:path}", "OPTIONS", poster, everybody(204)),
    Row(
        "/media/~{signature}/{task_id}/{file_id}/{name:path}",
        "GET",
        lambda callers: str(callers.files(callers.done)[0]["poster_url"]),
        everybody(200),
    ),
    Row(
        "/media/~{signature}/{task_id}/{file_id}/{name:path}",
        "GET",
        lambda callers: poster(callers).replace("/media/", "/media/~7fffffff.aaaaAAAAAAAAAAAAAAAAAAAAAA/"),
        everybody(404),
    ),
    # Of the page: keys in Authorization do not count here.
    Row("/api/session", "GET", at("/api/session"), everybody(200)),
    Row("/api/session", "HEAD", at("/api/session"), everybody(200)),
    Row("/api/session", "POST", at("/api/session"), everybody(403), json={}),  # not of our own page
    Row("/api/session", "DELETE", at("/api/session"), everybody(403)),
    Row("/api/session", "OPTIONS", at("/api/session"), everybody(405)),
    Row("/metrics", "GET", at("/metrics"), {**everybody(403), **UNKNOWN, "admin": 200}),
    Row("/healthz", "GET", at("/healthz"), everybody(200)),
    Row("/readyz", "GET", at("/readyz"), everybody(200)),
    # The page is the same document for everybody; what it shows, it asks the API for.
    Row("/", "GET", at("/"), everybody(200)),
    Row("/videos", "GET", at("/videos"), everybody(200)),
    Row("/numbers", "GET", at("/numbers"), everybody(200)),
    Row("/admin", "GET", at("/admin"), everybody(200)),  # the page; it asks the API whether its visitor may
    Row("/admin/{room}", "GET", at("/admin/keys"), everybody(200)),
    Row("/v/{task_id}", "GET", lambda callers: "/v/" + id_of(callers.done), everybody(200)),
    Row("/s/{token}", "GET", at("/s/AAAAAAAAAAAAAAAAAAAAAAAA"), everybody(200)),
    Row("/embed/{name}", "GET", at("/embed/AAAAAAAAAAAAAAAAAAAAAAAA"), everybody(200)),
    # What the server can do is no secret; the setting `docs` takes both away.
    Row("/openapi.json", "GET", at("/openapi.json"), everybody(200)),
    Row("/docs", "GET", at("/docs"), everybody(200)),
]
OF_MOUNT = {"/files", "/files/g/{grant}", "/files/{upload_id}"}


@pytest.fixture
def callers(start_server: StartServer, database_url: str, engine: str, tmp_path: Path) -> Callers:
    """A server on which everybody has a credential."""
    server = start_server(
        database_url=database_url, auth="on", downloads="on", tus_engine=engine, rate_failures="", accept="any"
    )
    made = Callers(server, tmp_path)
    made.make_keys()
    return made


@pytest.mark.sampled(1)
@pytest.mark.parametrize("engine", ["videodock", "tuspyserver"])
def test_every_caller_gets_what_the_table_says(callers: Callers) -> None:
    """Each row, asked by each kind of caller."""
    found, expected = {}, {}
    form = {"videos": ("a.txt", b"a text", "text/plain")}  # no video: twenty forms leave nothing to process
    for row in ROWS:
        path = ""
        for kind, status in row.expected.items():
            path = path or row.make(callers)
            # A grant is for one upload: what it creates takes its place.
            if kind == "grant":
                callers.keys["grant"] = callers.grant()["token"]
            more: dict[str, object] = {"files": form} if row.files else {}
            more |= {} if row.json is None else {"json": row.json}
            answer = callers.ask(row.method, path, kind, row.headers, **more)
            if answer.is_success:
                path = ""  # what is there may have changed
            name = (row.route, row.method, str(row.headers), kind)
            found[name], expected[name] = answer.status_code, status
            if answer.status_code == 401:
                assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert found == expected


def test_every_route_is_in_the_table(tmp_path: Path) -> None:
    """A route that is added without a row here fails."""
    app = create_app(Settings(data_dir=tmp_path))
    routes = {str(getattr(route, "path", "")) for route in app.routes} | OF_MOUNT
    pages = {path for path in routes if path.startswith(("/page/", "/docs/"))}
    assert routes - pages == {row.route for row in ROWS}
    assert pages
