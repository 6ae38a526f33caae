"""The numbers in Chromium: a generated month, seen by an administrator, by one owner, and by who may not see it."""

import csv
import io
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.database.session import Database
from tests.conftest import StartServer
from tests.harness.chromium import look, requests
from tests.harness.rows import execute
from tests.harness.server_process import ServerProcess
from tests.harness.videos_page import check_accessible, use
from tests.reports.generated_month import DAYS, OWNERS, fill

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(2)]

UPLOADS = 3_000
DAILY = UPLOADS // DAYS
MONTH = "numbers?from=2026-05-01&to=2026-05-30"
CHARTS = ("uploads", "bytes", "rates", "times", "queue", "waits")
PANELS = (*CHARTS, "failures", "storage")
FILES = {"uploads": "uploads", "rates": "rates", "times": "times", "failures": "failures", "queue": "queue"}
LIGHT, DARK = (37, 99, 235), (120, 166, 255)  # the accent of both schemes


@pytest.fixture
def month(start_server: StartServer) -> ServerProcess:
    """A server with authentication on which 50 owners have a month of uploads, all of which have ended."""
    server = start_server(auth="on")
    server.stop()  # it would process the tasks that seem to wait
    database = Database(server.database_url, 2)
    try:
        with database.change() as connection:
            fill(connection, UPLOADS)
    finally:
        database.close()
    execute(server.database_url, "UPDATE uploads SET status = 'expired', reserved = 0 WHERE status = 'open'")
    unended = "status IN ('uploaded', 'processing')"
    execute(server.database_url, f"UPDATE tasks SET status = 'completed', lease_expires_at = NULL WHERE {unended}")
    server.start()
    return server


def key(server: ServerProcess, owner: str, scope: str) -> str:
    return server.run("keys", "create", "--owner", owner, "--scope", scope).stdout.split()[0]


def saved(panel: str) -> list[object]:
    """Press what saves the file of a picture."""
    return ["download", f"#numbers-{panel} .panel-head a"]


def sign_in(text: str) -> list[list[object]]:
    return [["visible", "#credential"], ["fill", "#credential", text], ["key", "Enter"]]


def drawn(*panels: str) -> list[object]:
    """Wait until all of these have their picture."""
    charts = [f"#numbers-{panel} canvas" for panel in panels if panel in CHARTS]
    others = [f"#numbers-{panel} :is(.bars, .panel-facts)" for panel in panels if panel not in CHARTS]
    busy = ".panel[aria-busy=true]"
    return [
        "is",
        f"{charts + others}.every((one) => document.querySelector(one)) && !document.querySelector('{busy}')",
    ]


def painted(panel: str, colour: tuple[int, int, int]) -> list[object]:
    """Wait until a picture has a colour. A copy is read: the browser warns of a canvas that is read often."""
    red, green, blue = colour
    is_it = f"all[i] === {red} && all[i + 1] === {green} && all[i + 2] === {blue}"
    expression = (
        "((one) => { const copy = new OffscreenCanvas(one.width, one.height).getContext('2d'); "
        "copy.drawImage(one, 0, 0); const all = copy.getImageData(0, 0, one.width, one.height).data; "
        f"for (let i = 0; i < all.length; i += 4) if ({is_it}) return true; return false }})"
    )
    return ["is", f"{expression}(document.querySelector('#numbers-{panel} canvas'))"]


def reading(name: str, panel: str) -> list[object]:
    """Keep what a screen reader hears of the point that is chosen."""
    return ["keep", name, f"document.querySelector('#numbers-{panel}-chart').ariaValueText.replaceAll('\\u00a0', ' ')"]


def report(server: ServerProcess, credential: str, name: str) -> list[dict[str, Any]]:
    query = {"from": "2026-05-01", "to": "2026-05-30"}
    answer = httpx.get(
        f"{server.url}/api/reports/{name}", params=query, headers={"Authorization": f"Bearer {credential}"}
    )
    assert answer.status_code == 200, answer.text
    rows = answer.json()["rows"]
    assert isinstance(rows, list)
    return rows


def test_an_administrator_reads_a_month(month: ServerProcess, tmp_path: Path) -> None:
    """Figures and pictures are those of the reports; keyboard, tables, files, owner and days in the address, both
    languages, both schemes, a narrow window; and a report that fails hides no other."""
    admin = key(month, "boss", "admin")
    (totals,) = report(month, admin, "totals")
    assert totals["uploads"] == UPLOADS
    events = use(
        tmp_path,
        month.url,
        MONTH,
        *sign_in(admin),
        drawn(*PANELS),
        painted("uploads", LIGHT),
        ["look", "month"],
        ["press", "#numbers-uploads-chart", "Home"],
        reading("first", "uploads"),
        ["key", "ArrowRight"],
        ["key", "PageUp"],
        reading("ninth", "uploads"),
        ["press", "#numbers-times-chart", "End"],
        reading("last", "times"),
        ["look", "read"],
        ["press", "#numbers-rates summary", "Enter"],
        ["visible", "#numbers-rates table"],
        ["keep", "rows", "document.querySelectorAll('#numbers-rates tbody tr').length"],
        ["keep", "newest", "document.querySelector('#numbers-rates tbody th').textContent"],
        ["axe", "table"],
        *(saved(panel) for panel in FILES),
        ["scheme", "dark"],
        painted("uploads", DARK),
        ["axe", "dark"],
        ["size", 320, 700],
        ["is", "document.querySelector('#numbers-uploads .uplot').offsetWidth < 320"],
        ["look", "narrow"],
        ["axe", "narrow"],
        ["size", 1280, 900],
        ["click", "#language"],
        ["text", "失败原因"],
        ["text", "不是可播放的视频"],
        drawn(*PANELS),
        ["axe", "chinese"],
        ["look", "chinese"],
        ["click", "#numbers-storage .bars a"],
        ["gone", "#numbers-queue"],
        ["is", "document.querySelector('#numbers-owner').value.startsWith('owner-')"],
        ["reload"],
        drawn("uploads", "bytes", "rates", "times", "storage"),
        ["text", "所选日期内没有失败的上传"],  # the last of the owners has none
        ["look", "owner"],
        ["back"],
        drawn(*PANELS),
        ["select", "#numbers-range", "90"],
        ["is", "location.search === '?range=90'"],
        ["click", ".nav a[href$='videos']"],
        ["gone", ".numbers"],
        ["back"],
        ["is", "document.querySelector('#numbers-range')?.value === '90'"],
        ["look", "back"],
    )
    check_accessible(events)
    seen = look(events, "month")
    figures = [f"{UPLOADS:,}", f"{totals['arrived']:,} complete", f"{totals['resumed']:,} of {totals['arrived']:,}"]
    for words in (*figures, "Not a playable video", "File type not accepted", "30 May 2026. Days begin"):
        assert words in seen["text"], words
    assert seen["title"] == "Numbers · Videodock"
    values = look(events, "chinese")["values"]
    assert values["first"] == f"1 May 2026: Uploads {DAILY}"
    assert values["ninth"].startswith("9 May 2026: ")
    assert values["last"].startswith("30 May 2026: Half of the uploads within ")
    assert (values["rows"], values["newest"]) == (DAYS, "30 May 2026")
    check_files(events, month, admin)
    narrow = look(events, "narrow")
    assert narrow["wide"] == 0
    assert look(events, "chinese")["lang"] == "zh-CN"
    assert "owner=owner-" in look(events, "owner")["path"]
    assert look(events, "back")["path"] == "/numbers?range=90"


def check_files(events: list[dict[str, Any]], server: ServerProcess, credential: str) -> None:
    """The files that were saved have the rows of the reports."""
    files = [event for event in events if event["event"] == "downloaded"]
    assert [file["name"] for file in files] == [f"{name}_2026-05-01_2026-05-30.csv" for name in FILES.values()]
    for file, name in zip(files, FILES.values(), strict=True):
        rows = list(csv.DictReader(io.StringIO(file["text"])))
        wanted = report(server, credential, name)
        for row in wanted:
            row.pop("message", None)  # of JSON alone
        assert rows == [{k: "" if v is None else str(v) for k, v in row.items()} for row in wanted], name


def test_who_sees_what(month: ServerProcess, tmp_path: Path) -> None:
    """An owner sees own numbers and nobody else's; a report that fails hides no other and is asked again; who may not
    read has no link; and the view of uploads does not load the charts."""
    mine = key(month, "owner-7", "read")
    (totals,) = report(month, mine, "totals")
    assert totals["uploads"] == UPLOADS // OWNERS
    for folder in ("owner", "uploader"):
        (tmp_path / folder).mkdir()
    own = ("uploads", "bytes", "rates", "times", "storage")
    events = use(
        tmp_path / "owner",
        month.url,
        "",
        *sign_in(mine),
        ["visible", ".nav a[href$='numbers']"],
        ["fail", "**/api/reports/times?*", 1],
        ["goto", MONTH],
        ["visible", "#numbers-times [role=alert]"],
        drawn("uploads", "bytes", "rates", "storage"),
        ["axe", "failed"],
        ["look", "failed"],
        ["click", "#numbers-times [role=alert] button"],
        drawn(*own),
        ["look", "whole"],
        ["goto", "numbers?from=2026-05-30&to=2026-05-30"],
        drawn("uploads", "bytes", "storage"),
        ["axe", "one day"],
        ["look", "one day"],
        ["goto", "numbers?from=2020-01-01&to=2020-01-05"],
        ["visible", ".numbers .empty"],
        ["axe", "empty"],
        ["look", "empty"],
        troubled=True,
    )
    check_accessible(events)
    assert "The server does not answer" in look(events, "failed")["text"]
    whole = look(events, "whole")["text"]
    assert "Waiting time" not in whole
    assert "Storage by owner" not in whole
    assert f"\n{UPLOADS // OWNERS}\n" in whole
    assert "30 May 2026" in look(events, "one day")["text"]
    assert "No uploads on these days" in look(events, "empty")["text"]
    events = use(
        tmp_path / "uploader",
        month.url,
        "",
        *sign_in(key(month, "owner-7", "upload")),
        ["visible", "#zone"],
        ["look", "uploads"],
        ["goto", "numbers"],
        ["text", "You do not have access to this"],
        ["axe", "forbidden"],
        troubled=True,
    )
    check_accessible(events)
    assert "Numbers" not in look(events, "uploads")["text"]
    before = events[: events.index(look(events, "uploads"))]
    assert not [event for event in requests(before, "GET") if "/numbers-" in event["url"]]
