"""What a page of another origin needs of a server. (Fetch Standard, section CORS protocol.)"""

from tests.conformance.case import Case, Given
from tests.conformance.features import CROSS_ORIGIN, ORIGIN
from tests.conformance.session import DATA, FailedError, Session
from tests.conformance.wire import Answer

OFFERED = (CROSS_ORIGIN,)
HALF = Given(have=300)
REQUEST_HEADERS = (
    "Authorization, Content-Type, Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, Upload-Defer-Length, "
    "Upload-Concat, Upload-Checksum, X-HTTP-Method-Override, X-Request-ID, X-Requested-With"
)
ANSWER_HEADERS = (
    "Location, Upload-Offset, Upload-Length, Upload-Metadata, Upload-Defer-Length, Upload-Concat, Upload-Expires, "
    "Tus-Version, Tus-Resumable, Tus-Max-Size, Tus-Extension, Tus-Checksum-Algorithm"
)


def _names(text: str | None) -> set[str]:
    return {name.strip().lower() for name in (text or "").split(",")} - {""}


def _preflight(session: Session, method: str) -> Answer:
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": ",".join(sorted(_names(REQUEST_HEADERS))),
    }
    answer = session.ask("OPTIONS", session.mount if method == "POST" else session.upload, headers)
    session.expect(answer, "OPTIONS", (200, 204))
    return answer


def _check_allowed(answer: Answer, what: str) -> None:
    if answer.headers.get("access-control-allow-origin") not in ("*", ORIGIN):
        raise FailedError(f"{what}: no Access-Control-Allow-Origin for another origin")


def _check_lists(answer: Answer, name: str, wanted: set[str]) -> None:
    found = _names(answer.headers.get(name.lower()))
    missing = wanted - found
    if missing and "*" not in found:
        raise FailedError(f"{name} lacks {', '.join(sorted(missing))}")


def _origin(session: Session) -> None:
    for method in ("POST", "PATCH"):
        _check_allowed(_preflight(session, method), "OPTIONS")


def _methods(session: Session) -> None:
    _check_lists(_preflight(session, "PATCH"), "Access-Control-Allow-Methods", {"post", "head", "patch", "delete"})


def _headers(session: Session) -> None:
    # `*` does not stand for Authorization, hence by name.
    for method in ("POST", "PATCH"):
        _check_lists(_preflight(session, method), "Access-Control-Allow-Headers", _names(REQUEST_HEADERS))


def _answers(session: Session) -> list[tuple[str, Answer]]:
    page = {"Origin": ORIGIN}
    at_300 = page | {"Upload-Offset": "300"}
    return [
        ("POST", session.ask("POST", session.mount, page | {"Upload-Length": "1000"})),
        ("HEAD", session.ask("HEAD", session.upload, page)),
        ("PATCH", session.ask("PATCH", session.upload, at_300, DATA[300:])),
    ]


def _refusals(session: Session) -> list[tuple[str, Answer]]:
    page = {"Origin": ORIGIN, "Upload-Offset": "7"}
    return [
        ("409", session.ask("PATCH", session.upload, page, b"x")),
        ("404", session.ask("HEAD", f"{session.mount.rstrip('/')}/8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11", page)),
        ("412", session.ask("PATCH", session.upload, page | {"Tus-Resumable": "0.2.2"}, b"x")),
    ]


def _answers_allowed(session: Session) -> None:
    for what, answer in _answers(session):
        _check_allowed(answer, what)


def _answers_exposed(session: Session) -> None:
    for _, answer in _answers(session):
        _check_lists(answer, "Access-Control-Expose-Headers", _names(ANSWER_HEADERS))


def _refusals_allowed(session: Session) -> None:
    for what, answer in _refusals(session):
        _check_allowed(answer, what)
        _check_lists(answer, "Access-Control-Expose-Headers", {"upload-offset"})


CASES = (
    Case("cors-preflight", "rule 15", "a preflight for POST and PATCH allows another origin", (), HALF, OFFERED,
         _origin),
    Case("cors-methods", "rule 15", "a preflight allows POST, HEAD, PATCH and DELETE", (), HALF, OFFERED, _methods),
    Case("cors-headers", "rule 15", "a preflight allows every header that clients send", (), HALF, OFFERED, _headers),
    Case("cors-answers", "rule 15", "POST, HEAD and PATCH are answered for another origin", (), HALF, OFFERED,
         _answers_allowed),
    Case("cors-expose", "rule 15", "their answers let the page read every header of tus", (), HALF, OFFERED,
         _answers_exposed),
    Case("cors-refusals", "rule 15", "a page can read refusals, and the offset of a 409", (), HALF, OFFERED,
         _refusals_allowed),
)  # fmt: skip
