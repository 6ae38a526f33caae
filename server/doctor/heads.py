"""Methods and headers: whether requests and answers pass as they were sent, for programs and for pages.

Rule: what Videodock itself refuses is not a finding about the proxy; its answers are recognised by their headers.
"""

from server.doctor.findings import Check, VisitEndedError
from server.doctor.visit import OVERRIDE, TUS, Visit
from server.doctor.wire import Answer

ORIGIN = "https://page.example"

_OPTIONS_HEADERS = ("Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size")
_HEAD_HEADERS = ("Tus-Resumable", "Upload-Offset", "Upload-Length", "Upload-Expires")
_REQUEST_HEADERS = ("Tus-Resumable", "Upload-Length", "Upload-Offset", "Content-Type", "Upload-Metadata")
_EXPOSED = ("location", "upload-offset")


def examine_before(visit: Visit, origin: str | None = None) -> None:
    """What can be seen without an upload: OPTIONS, a preflight, and what is public. Learns what may be uploaded."""
    with visit.report.check("options") as check:
        answer = visit.ask("OPTIONS", f"{visit.prefix}/files")
        if not answer.is_ours:
            check.find("method_refused", method="OPTIONS", status=answer.status)
        else:
            _check_present(answer, _OPTIONS_HEADERS, check)
            _learn(visit, answer)
    with visit.report.check("cors") as check:
        asked = {
            "Origin": origin or ORIGIN,
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "tus-resumable, upload-offset",
        }
        preflight = visit.ask("OPTIONS", f"{visit.prefix}/files", asked)
        _check_cors(preflight, "OPTIONS", origin, check)
        if "patch" not in _names(preflight, "Access-Control-Allow-Methods") and not check.skipped:
            check.find("cors_missing", origin=asked["Origin"], what="PATCH", method="OPTIONS")
        page = visit.ask("POST", f"{visit.prefix}/files", {"Origin": asked["Origin"]})  # without tus: 412
        if page.is_ours and not check.skipped:
            _check_cors(page, "POST", origin, check)
            hidden = [name for name in _EXPOSED if name not in _names(page, "Access-Control-Expose-Headers")]
            for name in hidden:
                check.find("cors_missing", origin=asked["Origin"], what=f"{name} to read", method="POST")
    with visit.report.check("metrics") as check:
        if visit.key is None and visit.ask("GET", f"{visit.prefix}/metrics").status == 200 and not _is_here(visit):
            check.find("metrics_public")
    with visit.report.check("content_encoding") as check:
        page = visit.ask("GET", f"{visit.prefix}/", {"Accept-Encoding": "identity"})
        if page.get("Content-Encoding") not in (None, "identity"):
            check.find("content_encoding_forced", found=page.get("Content-Encoding") or "")


def examine(visit: Visit, creation: Answer) -> None:
    """What needs an upload: HEAD, and the headers of its answer. Ends the visit when the offset cannot be had."""
    with visit.report.check("head") as check:
        _check_present(creation, ("Tus-Resumable", "Upload-Offset"), check)
        answer = visit.when_free("HEAD", {})
        if answer is not None and answer.status == 200:
            _check_present(answer, _HEAD_HEADERS, check)
            if answer.get("Upload-Metadata") != visit.metadata:
                check.find("request_header_lost", name="Upload-Metadata")
        elif visit.look() is not None:
            if answer is not None and answer.is_ours:
                check.find("head_becomes_get")
            else:
                check.find("method_refused", method="HEAD", status=0 if answer is None else answer.status)
        elif answer is None or not explained(answer, check):
            check.find("no_answer", reason="HEAD" if answer is None else f"HEAD: {answer.status}")
    if visit.look() is None:
        raise VisitEndedError


def explained(answer: Answer, check: Check) -> bool:
    """Whether a refusal of ours is explained by a header that did not arrive; then it becomes a finding."""
    if answer.code == "version_unsupported":
        check.find("request_header_lost", name="Tus-Resumable")
        return True
    if answer.code == "content_encoding_unsupported":
        check.find("content_encoding_added")
        return True
    if answer.code == "content_type_unsupported":
        check.find("request_header_lost", name="Content-Type")
        return True
    if answer.code in ("header_missing", "header_invalid"):
        lost = next((name for name in _REQUEST_HEADERS if name in answer.sentence), None)
        if lost is not None:
            check.find("request_header_lost", name=lost)
            return True
    return False


def check_method(answer: Answer, method: str, check: Check) -> bool:
    """Whether Videodock answered; otherwise that becomes a finding."""
    if answer.is_ours:
        return True
    check.find("method_refused", method=method, status=answer.status)
    return False


def probe_override(visit: Visit, method: str) -> bool:
    """Whether the method passes as POST with X-HTTP-Method-Override."""
    answer = visit.ask("POST", visit.upload, {**TUS, OVERRIDE: method})
    return answer.is_ours


def _check_present(answer: Answer, names: tuple[str, ...], check: Check) -> None:
    for name in names:
        if answer.get(name) is None:
            check.find("response_header_lost", name=name)


def _check_cors(answer: Answer, method: str, origin: str | None, check: Check) -> None:
    allowed = [part.strip() for value in answer.all("Access-Control-Allow-Origin") for part in value.split(",")]
    if len(allowed) > 1:
        check.find("cors_doubled", number=len(allowed), method=method)
    elif allowed and allowed[0] in ("*", origin or ORIGIN):
        return
    elif origin is None and answer.is_ours and "Origin" in (answer.get("Vary") or ""):
        check.skip("origin_not_named")
    else:
        what = "Access-Control-Allow-Origin"
        check.find("cors_missing", origin=origin or ORIGIN, what=what, method=method)


def _names(answer: Answer, header: str) -> set[str]:
    return {part.strip().lower() for value in answer.all(header) for part in value.split(",")}


def _learn(visit: Visit, answer: Answer) -> None:
    visit.accepted = answer.get("Upload-Extensions") or "*"
    for name, header in (("max_size", "Tus-Max-Size"), ("told_chunk", "Tus-Max-Chunk-Size")):
        number = answer.number(header)
        if number is not None:
            setattr(visit, name, number)


def _is_here(visit: Visit) -> bool:
    """Whether the address is of this machine alone: its scraper reads the metrics there."""
    return visit.address.host in ("127.0.0.1", "::1", "localhost") and visit.address.context is None
