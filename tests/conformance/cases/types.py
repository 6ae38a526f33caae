"""Rule 17: servers that take videos only."""

from tests.conformance.case import GONE, REFUSED, Case, Given
from tests.conformance.cases.concatenation import final
from tests.conformance.features import TYPES
from tests.conformance.session import DATA, Session, metadata

CHECKED = (TYPES,)
TEXT = b"This is a letter and no film. " * 10


def _refused(session: Session) -> None:
    session.expect(session.patch(session.upload, 0, TEXT), "PATCH", 415, lacks=("Upload-Offset",))


def _refused_later(session: Session) -> None:
    session.patch(session.upload, 0, TEXT)
    answer = session.patch(session.upload, 0, DATA)
    session.expect(answer, "PATCH", (415, *GONE), lacks=("Upload-Offset",))


def _refused_name(session: Session) -> None:
    headers = {"Upload-Length": "1000", "Upload-Metadata": metadata(filename="letter.txt")}
    session.expect(session.ask("POST", session.mount, headers), "POST", REFUSED, lacks=("Location",))


def _late_bytes(session: Session) -> None:
    session.append(session.upload, 0, DATA[:5])
    session.append(session.upload, 5, DATA[5:])


def _partial(session: Session) -> None:
    session.begin(len(TEXT), concat="partial")
    session.append(session.upload, 0, TEXT)
    answer = final(session, [session.upload])
    session.expect(answer, "POST", 415, lacks=("Upload-Offset", "Location"))


CASES = (
    Case("type-refused", "rule 17", "first bytes that are not a video are 415 without an offset", (), Given(), CHECKED,
         _refused),
    Case("type-refused-later", "rule 17", "no later PATCH revives the upload", (), Given(), CHECKED, _refused_later),
    Case("type-by-name", "rule 17", "a name that is not a video's is refused before anything is created", (), None,
         CHECKED, _refused_name),
    Case("type-in-pieces", "rule 17", "five bytes are too few to judge; with the others they are a video", (), Given(),
         CHECKED, _late_bytes),
    Case("type-of-partial", "rule 17", "a partial upload may hold anything, the final one may not", (), None,
         (*CHECKED, "concatenation"), _partial),
)  # fmt: skip
