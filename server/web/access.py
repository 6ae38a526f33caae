"""Who may send this request: asked by every handler before it looks at anything.

Rules:

- A client that has the URL of an upload may continue, end and follow it: its signature is verified without a database,
  and the end of a login does not change that. All others need a credential and its scope.
- What belongs to another owner does not exist: 404. What a credential does not allow at all is 403, whatever is asked
  for, and a request without a credential is 401.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from starlette.types import Scope as AsgiScope

from server.auth import ownership
from server.auth.audit import Entry
from server.auth.authenticator import client_address
from server.auth.forward import UploadQuestion
from server.auth.principal import Principal, Scope, is_owner
from server.auth.signatures import ORIGINAL, RESULTS
from server.bootstrap import Services
from server.database.models import DEFAULT_OWNER, Upload
from server.errors import (
    AuthenticationRequiredError,
    CredentialInvalidError,
    FieldInvalidError,
    GrantMismatchError,
    NotFoundError,
    PartInvalidError,
    PlaybackExpiredError,
    RefusedByBackendError,
    ScopeMissingError,
    TaskNotFoundError,
    UploadNotFoundError,
)
from server.tus.added_metadata import with_metadata
from server.tus.headers import is_id, parse_metadata, split_segment
from server.tus.protocol import Create
from server.web import grant_terms


class Right(NamedTuple):
    """The right to touch one thing: its id, and whose it must be; None where the right does not come from owning."""

    id: str
    owner: str | None
    by_url: bool = False
    """The request has the upload's own URL."""
    principal: Principal | None = None
    """Who asks; None for a client that only has the URL."""


def _question(create: Create) -> UploadQuestion:
    metadata = {key: value.decode("utf-8", "replace") for key, value in parse_metadata(create.metadata_raw).items()}
    kind = metadata.get("filetype") or metadata.get("type")
    return UploadQuestion(protocol="tus", name=create.filename, size=create.length, type=kind, metadata=metadata)


class Access:
    """The rights of requests to one application."""

    def __init__(self, services: Services) -> None:
        self._is_on = services.settings.auth == "on"
        self._settings = services.settings
        self._authenticator = services.auth.authenticator
        self._signatures = services.auth.signatures
        self._forward = services.auth.forward
        self._rates = services.auth.rates
        self._audit = services.auth.audit
        self._grants = services.auth.grants
        self._database = services.database

    # Creation

    async def creator(self, scope: AsgiScope, grant: str | None = None, *, or_expired: bool = False) -> Principal:
        """Who creates an upload, a form or a grant; `grant` is the token in the path, if there is one.

        With `or_expired` a grant that is not revoked counts after its end too, for what it has created before. Raises
        `AuthenticationRequiredError`, `CredentialInvalidError`, `ScopeMissingError`, `GrantExpiredError`,
        `GrantMismatchError`.
        """
        principal = await self.known_creator(scope, grant, or_expired=or_expired)
        if principal is None:
            raise AuthenticationRequiredError
        return principal

    async def known_creator(
        self, scope: AsgiScope, grant: str | None = None, *, or_expired: bool = False
    ) -> Principal | None:
        """The same; None for a request without a credential where the service at `auth_url` decides."""
        if grant is not None:
            principal = await self._of_grant(scope, grant)
        else:
            principal = await self._authenticator.find(scope)
        if principal is None:
            if not self._forward.is_configured:
                raise AuthenticationRequiredError
            return None
        principal.check(Scope.UPLOAD)
        if principal.grant is not None:
            if not or_expired or principal.grant.revoked_at is not None:
                self._grants.check_open(principal.grant)
            self.check_origin(principal.grant, scope)
        return principal

    async def joiner(self, create: Create) -> Principal | None:
        """Who may join parts when no credential is valid any more: a client with the URLs of all of them; else None.

        Joining is how the upload of these parts ends, and the end of a login must not cost it. The upload belongs to
        the owner of its parts, and to their grant.
        """
        for part_id, signature in zip(create.parts, create.signatures, strict=True):
            if not await self._signatures.is_of_upload(part_id, signature):
                return None
        found = await self._database.run(ownership.owners_and_grants, self._database, create.parts)
        if len(found) != 1:
            return None
        ((owner, grant_id),) = found
        grant = None if grant_id is None else await self._grants.find(grant_id)
        return Principal(owner, frozenset({Scope.UPLOAD}), "parts", grant=grant)

    async def _of_grant(self, scope: AsgiScope, token: str) -> Principal | None:
        try:
            return await self._authenticator.of_grant(token)
        except CredentialInvalidError as error:
            await self._authenticator.count_failure(scope, error)
            raise

    async def ask(self, scope: AsgiScope, question: UploadQuestion) -> Principal:
        """Whom the service at `auth_url` takes the client for. Raises as `ForwardAuth.ask`, and `ScopeMissingError`."""
        address = client_address(scope)
        try:
            principal = await self._forward.ask(replace(question, remote_address=address), scope["headers"])
        except RefusedByBackendError:
            await self._rates.failure(address)
            raise
        principal.check(Scope.UPLOAD)
        return principal

    async def count_creation(
        self, scope: AsgiScope, principal: Principal, *, by_address: bool = True
    ) -> Mapping[str, str]:
        """Count a creation; the headers that tell how many are left. Raises `RateLimitedError`."""
        return await self._rates.creation(principal.owner, client_address(scope) if by_address else None)

    async def admit(self, scope: AsgiScope, principal: Principal | None, create: Create) -> tuple[Principal, Create]:
        """Who creates what, once the head of the creation is known: with the metadata that a grant or the backend adds.

        Raises `GrantMismatchError` when the grant is for another file name, size or task, and
        as `check_parts` and `ask`.
        """
        if principal is None:
            principal = await self.ask(scope, _question(create))
        await self._check_parts(principal, create)
        if create.is_partial:
            return principal, create
        grant = principal.grant
        refusal = grant_terms.refusal_of_name(principal, create.filename)
        if refusal is not None:
            raise refusal
        added = dict(principal.limits.metadata)
        if grant is not None:
            added |= grant_terms.metadata_of(grant, create)
        if added:
            create = with_metadata(create, added, self._settings.max_files)
        task = None if create.group is None else create.group.task_id
        if grant is not None and grant.task not in (None, task):
            raise GrantMismatchError(reason="grant_task")
        if grant is not None and create.length is not None and grant.size not in (None, create.length):
            raise GrantMismatchError(reason="grant_length", length=grant.size)
        return principal, create

    def by_url(self, place: Any) -> tuple[Principal, Create]:
        """The creation of the upload whose URL the backend got with the grant.

        Without a `size` in the grant its client declares the length with its first PATCH.
        """
        principal = Principal(place.owner, frozenset({Scope.UPLOAD}), f"grant:{place.id}", grant=place)
        create = Create(place.size, None, None, has_body=False)
        added = grant_terms.metadata_of(place, create)
        return principal, with_metadata(create, added, self._settings.max_files) if added else create

    def check_origin(self, grant: Any, scope: AsgiScope) -> None:
        """Raise `GrantMismatchError` when the grant is for pages of another origin."""
        if grant.allowed_origin is None:
            return
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        if origins != [grant.allowed_origin]:
            raise GrantMismatchError(reason="grant_origin")

    async def _check_parts(self, principal: Principal, decision: Create) -> None:
        """Raise `PartInvalidError` unless the client may join these parts: it has their URLs, or owns them by a key."""
        if not self._is_on:
            return
        for part_id, signature in zip(decision.parts, decision.signatures, strict=True):
            needs_url = bool(signature) or principal.grant is not None
            if needs_url and not await self._signatures.is_of_upload(part_id, signature):
                raise PartInvalidError(part=part_id)

    # Uploads

    async def upload(self, scope: AsgiScope, segment: str, needed: Scope) -> Right:
        """The right to an upload, by the last segment of its URL. Raises `UploadNotFoundError` where the segment is
        not one of an upload; else as `Authenticator.principal`, and `ScopeMissingError`."""
        upload_id, signature = split_segment(segment)
        if not is_id(upload_id):
            raise UploadNotFoundError
        if not self._is_on:
            return Right(upload_id, DEFAULT_OWNER, by_url=True)
        if "~" in segment:
            if await self._signatures.is_of_upload(upload_id, signature):
                return Right(upload_id, None, by_url=True)
            if needed is Scope.READ and await self._is_unexpired(ORIGINAL, upload_id, signature):
                return Right(upload_id, None)
            raise UploadNotFoundError
        principal = await self._authenticator.principal(scope)
        if principal.grant is not None:
            place = await self._grants.find_place(upload_id)
            if place is None or place.id != principal.grant.id:
                raise UploadNotFoundError
            return Right(upload_id, principal.owner, by_url=True, principal=principal)
        principal.check(needed)
        return Right(upload_id, principal.acts_for, principal=principal)

    async def signed_task(self, task_id: str) -> str | None:
        """The last segment of the URL by which the sender of a form follows its task; None where the id is enough."""
        return f"{task_id}~{await self._signatures.sign_task(task_id)}" if self._is_on else None

    async def signed(self, upload_id: str) -> str:
        """The last segment of an upload's URL."""
        return f"{upload_id}~{await self._signatures.sign_upload(upload_id)}" if self._is_on else upload_id

    # Tasks

    async def task(
        self, scope: AsgiScope, segment: str, needed: Scope, *, by_url: bool = True, by_grant: bool = True
    ) -> Right:
        """The right to a task, by its id or by the last segment of the URL of one of its uploads.

        Without `by_url` only the owner has it, by a credential, and without `by_grant` no grant of the owner's. Raises
        `TaskNotFoundError`; else as `upload`.
        """
        # A client may choose the id of a group, and Apple's UUIDs are in upper case.
        task_id, signature = split_segment(segment)
        task_id = task_id.lower()
        if not is_id(task_id):
            raise TaskNotFoundError
        if not self._is_on:
            return Right(task_id, DEFAULT_OWNER)
        if "~" in segment and not by_url:
            raise AuthenticationRequiredError
        if "~" in segment:
            if await self._signatures.is_of_task(task_id, signature):
                return Right(task_id, None)
            if not await self._signatures.is_of_upload(task_id, signature):
                raise TaskNotFoundError
            try:
                return Right(await self._database.run(ownership.task_of, self._database, Upload.id == task_id), None)
            except TaskNotFoundError:
                return Right(await self._database.run(ownership.task_of_form, self._database, task_id), None)
        principal = await self._authenticator.principal(scope)
        if principal.grant is not None:
            if not by_grant:
                principal.check(needed)
            mine = (Upload.task_id == task_id) & (Upload.grant_id == principal.grant.id)
            return Right(await self._database.run(ownership.task_of, self._database, mine), None, principal=principal)
        principal.check(needed)
        return Right(task_id, principal.acts_for, principal=principal)

    @property
    def is_on(self) -> bool:
        """Whether requests need a credential."""
        return self._is_on

    async def events(self, scope: AsgiScope, owner: str | None) -> Right:
        """The right to the events of an owner: the caller's own, or for `admin` those of `owner`, or with None all.

        Raises as `Authenticator.principal`, `ScopeMissingError`, and `FieldInvalidError` for another owner where
        authentication is off.
        """
        if not self._is_on:
            if owner not in (None, DEFAULT_OWNER):
                raise FieldInvalidError(field="owner", reason="owner_off")
            return Right("", DEFAULT_OWNER)
        principal = await self._authenticator.principal(scope)
        principal.check(Scope.READ)
        if owner is None:
            return Right("", principal.acts_for, principal=principal)
        if owner != principal.owner:
            principal.check(Scope.ADMIN)
        return Right("", owner, principal=principal)

    # Lists

    async def lister(self, scope: AsgiScope, asked: str | None) -> tuple[Principal | None, str | None]:
        """Who reads a list, and whose things it shows: those of the owner that is `asked` for, None for all owners.

        Raises `FieldInvalidError`, also where authentication is off and there are no other owners, `ScopeMissingError`;
        else as `Authenticator.principal`.
        """
        reader = await self._authenticator.principal(scope) if self._is_on else None
        if reader is not None:
            reader.check(Scope.READ)
        own = DEFAULT_OWNER if reader is None else reader.acts_for
        if asked in (None, own):
            return reader, own
        if not self._is_on:
            raise FieldInvalidError(field="owner", reason="owner_off")
        if own is not None:
            raise ScopeMissingError(scope=Scope.ADMIN.value)
        if not is_owner(asked):
            raise FieldInvalidError(field="owner", reason="field_type", expected='"ann"')
        return reader, asked

    # Results

    async def results(self, scope: AsgiScope, task_id: str, signature: str | None) -> tuple[str | None, int | None]:
        """Whose results the request may see, and for how many seconds its URL is still valid; None for ever.

        Raises `NotFoundError`, `PlaybackExpiredError`; else as `upload`.
        """
        if signature is not None:
            left = await self._signatures.seconds_left(RESULTS, task_id, signature)
            if left is None:
                raise NotFoundError
            if left <= 0:
                raise PlaybackExpiredError
            return None, left
        if not self._settings.signs_playback:
            return None if self._is_on else DEFAULT_OWNER, None
        principal = await self._authenticator.principal(scope)
        principal.check(Scope.READ)
        return principal.acts_for, None

    async def signature_of_results(self, task_id: str) -> str | None:
        """What the URLs of a task's results bear; None where they need nothing."""
        return await self._sign(RESULTS, task_id) if self._settings.signs_playback else None

    async def original(self, upload_id: str) -> str:
        """The last segment of the URL from which an original is downloaded."""
        return f"{upload_id}~{await self._sign(ORIGINAL, upload_id)}" if self._is_on else upload_id

    async def _sign(self, purpose: str, subject: str) -> str:
        return await self._signatures.sign_until(purpose, subject, self._settings.playback_url_ttl)

    async def _is_unexpired(self, purpose: str, subject: str, signature: str) -> bool:
        left = await self._signatures.seconds_left(purpose, subject, signature)
        if left is not None and left <= 0:
            raise PlaybackExpiredError
        return left is not None

    async def audit(self, scope: AsgiScope, action: str, right: Right, kind: str, owner: str | None = None) -> None:
        """Record what was done to an upload or task of `owner`. Without authentication there is no actor to record.

        Raises nothing.
        """
        if not self._is_on:
            return
        address, who = client_address(scope), right.principal
        if who is None:
            entry = Entry(action=action, actor="url", owner=owner)
        else:
            entry = Entry.by(who, action, object_owner=owner)
        await self._audit.record(replace(entry, object_kind=kind, object_id=right.id, address=address))

    async def admin(self, scope: AsgiScope) -> None:
        """Raise unless the request may see what concerns all owners."""
        if self._is_on:
            (await self._authenticator.principal(scope)).check(Scope.ADMIN)
