"""What a grant, or the service at `auth_url`, says of the uploads of a principal.

Rule: it reads only what is already known, and sends no request.
"""

from typing import Any

from server.auth.principal import Principal
from server.errors import GrantMismatchError
from server.tus.group_metadata import FILES, TASK
from server.tus.passthrough import KEY as PASSTHROUGH
from server.tus.passthrough import of_field
from server.tus.protocol import Create
from server.uploads.new_upload import NO_TERMS, CreationTerms


def terms(principal: Principal, upload_id: str | None = None) -> CreationTerms:
    """What its grant says of an upload."""
    grant = principal.grant
    if grant is None:
        limit = principal.limits.max_size
        return NO_TERMS if limit is None else CreationTerms(max_size=limit)
    types = None if grant.types is None else tuple(grant.types)
    # A form and joined parts declare no length: for them the size is the most that they may have.
    limits = [limit for limit in (grant.size, grant.max_size) if limit is not None]
    max_size = min(limits, default=None)
    return CreationTerms(
        grant_id=grant.id,
        upload_id=upload_id,
        max_size=max_size,
        max_files=grant.uploads,
        types=types,
        task=grant.task,
    )


def passthrough(principal: Principal) -> str | None:
    """What its grant or the service at `auth_url` says that a form passes through; a tus upload has it in its
    metadata. Raises `FieldInvalidError`."""
    grant = principal.grant
    metadata = principal.limits.metadata if grant is None else grant.upload_metadata or {}
    return of_field(metadata.get(PASSTHROUGH, ""))


def refusal_of_name(principal: Principal, filename: str | None) -> GrantMismatchError | None:
    """The refusal of a file whose name is another one than that of the grant; None where it may come."""
    grant = principal.grant
    if grant is None or grant.filename is None or filename in (None, grant.filename):
        return None
    return GrantMismatchError(reason="grant_filename", filename=grant.filename)


def metadata_of(grant: Any, create: Create) -> dict[str, str]:
    """What the grant adds to the metadata of a creation."""
    added = dict(grant.upload_metadata or {})
    if grant.filename is not None and create.filename is None:
        added["filename"] = grant.filename
    if grant.task is not None and create.group is None:
        added |= {TASK: grant.task, FILES: str(grant.uploads)}
    return added
