"""Termination: DELETE."""

from tests.conformance.case import FOUND, GONE, REFUSED, Ask, Case, Given
from tests.conformance.cases.core import UNKNOWN
from tests.conformance.session import DATA, Session

TERMINATION = ("termination",)
HALF = Given(have=300)
DELETE = Ask("DELETE", 204)


def _complete(session: Session) -> None:
    answer = session.ask("DELETE", session.upload)
    session.expect(answer, "DELETE", (204,))
    session.expect(session.ask("HEAD", session.upload), "HEAD", GONE)


CASES = (
    Case("delete", "tus 1.0.0, DELETE", "DELETE of an unfinished upload is 204", (DELETE,), HALF, TERMINATION),
    Case("delete-204", "rule 7", "DELETE of a new upload is exactly 204", (DELETE,), Given(), TERMINATION),
    Case("delete-head", "tus 1.0.0, DELETE", "HEAD is 404 or 410 afterwards, without an offset",
         (DELETE, Ask("HEAD", GONE, lacks=("Upload-Offset",))), HALF, TERMINATION),
    Case("delete-patch", "tus 1.0.0, DELETE", "PATCH is 404 or 410 afterwards, without an offset",
         (DELETE, Ask("PATCH", GONE, {"Upload-Offset": "300"}, DATA[300:], lacks=("Upload-Offset",))), HALF,
         TERMINATION),
    Case("delete-twice", "tus 1.0.0, DELETE", "a second DELETE is 404 or 410", (DELETE, Ask("DELETE", GONE)), HALF,
         TERMINATION),
    Case("delete-unknown", "tus 1.0.0, DELETE", "DELETE of an unknown upload is 404 or 410",
         (Ask("DELETE", GONE, to=UNKNOWN),), needs=TERMINATION),
    Case("delete-foreign-version", "tus 1.0.0, Tus-Resumable", "DELETE in another version is 412 and removes nothing",
         (Ask("DELETE", 412, {"Tus-Resumable": "0.2.2"}), Ask("HEAD", FOUND, has={"Upload-Offset": "300"})), HALF,
         TERMINATION),
    Case("delete-complete", "rule 18", "DELETE of a complete upload is 204 at any time; HEAD is 404 or 410", (),
         Given(have=1000), TERMINATION, _complete),
    Case("delete-by-override", "tus 1.0.0, X-HTTP-Method-Override", "POST that overrides it with DELETE removes",
         (Ask("POST", 204, {"X-HTTP-Method-Override": "DELETE", "Content-Length": "0"}), Ask("HEAD", GONE)), HALF,
         TERMINATION),
    Case("delete-refused-no-effect", "rule 2", "DELETE without Tus-Resumable is refused and removes nothing",
         (Ask("DELETE", REFUSED, {"Tus-Resumable": None}), Ask("HEAD", FOUND, has={"Upload-Offset": "300"})), HALF,
         TERMINATION),
)  # fmt: skip
