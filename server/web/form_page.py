"""The answer to the page's plain form, for a person whose browser runs no script.

Rule: only a request that has the form's own marker in its address and accepts HTML gets a page; every other client gets
the documented JSON, byte for byte. The page says what the JSON says, and what to do next.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.responses import Response
from starlette.types import Scope

from server.errors import VideodockError
from server.messages import Language
from server.web.branding import Brand
from server.web.errors import api_response, language
from server.web.middleware.proxy import base_url
from server.web.static_file import PAGE_HEADERS

MARKER = "answer"
_INDEX = Path(__file__).parent / "page" / "dist" / "index.html"
_SCRIPTS = re.compile(r"<script.*?</script>|<link rel=\"modulepreload\"[^>]*>", re.DOTALL)
_WORDS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "received": "{n} uploaded",
        "file": "1 video",
        "files": "{n} videos",
        "hint": "The server is processing it now. You may close this page.",
        "refused": "Not accepted:",
        "failed": "Nothing was uploaded",
        "advice": "Nothing was kept. Go back, choose other files or try again later.",
        "open": "Open the video’s page (needs JavaScript)",
        "status": "Status of the processing (JSON)",
        "again": "Upload more videos",
        "back": "Back to the form",
    },
    "zh": {
        "received": "已上传 {n}",
        "file": "1 个视频",
        "files": "{n} 个视频",
        "hint": "服务器正在处理，您可以关闭此页面。",
        "refused": "未接受的文件：",
        "failed": "没有上传任何视频",
        "advice": "没有保存任何内容。请返回选择其他文件，或稍后再试。",
        "open": "打开视频页面（需要 JavaScript）",
        "status": "处理状态（JSON）",
        "again": "继续上传视频",
        "back": "返回上传表单",
    },
}
_TAGS: Mapping[Language, str] = {"en": "en", "zh": "zh-CN"}


def is_wanted(scope: Scope) -> bool:
    """Whether this request is of the page's plain form, sent by a browser."""
    if parse_qs(scope["query_string"].decode("latin-1")).get(MARKER) != ["page"]:
        return False
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept")
    return any(part.partition(b";")[0].strip().lower() == b"text/html" for part in accepted.split(b","))


class FormPages:
    """Makes the pages."""

    def __init__(self, brand: Brand, index: Path = _INDEX) -> None:
        self._brand = brand
        # Without a built page the server does not start; `pages.py` says so.
        document = brand.dress(index.read_bytes()).decode() if index.is_file() else "<!doctype html>\n<head></head>"
        self._head = _SCRIPTS.sub("", document.partition("<head>")[2].partition("</head>")[0])

    def refuse(self, error: VideodockError, scope: Scope) -> Response:
        """As `api_response`."""
        return self.shown(api_response(error, scope), scope)

    def shown(self, response: Response, scope: Scope) -> Response:
        """The answer as it is, or as a page where one is wanted."""
        if not is_wanted(scope):
            return response
        spoken = language(scope, "zh")
        content = json.loads(bytes(response.body))
        body = "\n      ".join(_lines(content, _WORDS[spoken]))
        prefix = html.escape(urlsplit(base_url(scope)).path)
        head = self._head.replace('<base href="/">', f'<base href="{prefix}/">', 1)
        made = Response(
            f'<!doctype html>\n<html lang="{_TAGS[spoken]}">\n<head>{head}</head>\n<body>\n  <div>\n    '
            f'<main class="plain">\n      {self._brand.head()}\n      {body}\n      {self._brand.foot()}\n    </main>\n'
            "  </div>\n</body>\n</html>\n",
            response.status_code,
        )
        kept = [pair for pair in response.raw_headers if pair[0] not in (b"content-type", b"content-length")]
        made.raw_headers = [*kept, *(pair for pair in made.raw_headers if pair[0] == b"content-length")]
        made.headers.update({**PAGE_HEADERS, "Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"})
        made.headers["Vary"] = "Accept, Accept-Language"
        return made


def _lines(content: Mapping[str, Any], words: Mapping[str, str]) -> Iterator[str]:
    done = content["success"]
    number = content.get("uploaded_files") or 0
    files = words["file"] if number == 1 else words["files"].format(n=number)
    yield f"<h1>{words['received'].format(n=files) if done else words['failed']}</h1>"
    refused = content.get("invalid_details") or ()
    if done:
        yield f"<p>{words['hint']}</p>"
    elif not refused:  # else the message names a field of the JSON
        yield f"<p>{html.escape(content['message'])}</p>"
    if refused:
        yield f"<p>{words['refused']}</p>"
        items = (f"{html.escape(one['name'])}: {html.escape(one['message'])}" for one in refused)
        yield f'<ul class="plain-list">{"".join(f"<li>{item}</li>" for item in items)}</ul>'
    if not done:
        yield f"<p>{words['advice']}</p>"
        yield f'<p><a href="./">{words["back"]}</a></p>'
        return
    task = html.escape(content["task_id"])
    yield f'<p><a href="v/{task}">{words["open"]}</a></p>'
    status = html.escape(content.get("status_url") or f"api/task/status/{content['task_id']}")
    yield f'<p><a href="{status}">{words["status"]}</a></p>'
    yield f'<p><a href="./">{words["again"]}</a></p>'
