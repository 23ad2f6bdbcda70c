"""Step-up authentication: sensitive actions need a proof of identity that is at most 10 minutes
old.

`SENSITIVE_ACTIONS` lists them. The page that asks for the proof carries the fields of the original
form, encrypted. With a valid proof the action continues with these fields. The dependency
`FormFields` calls this module before the handler of the action.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from api.console.composition import ConsoleDependencies
from api.console.sign_in.flow import SignInFlow
from api.console.sign_in.passkeys import MAY_BE_COPIED, PasskeyCeremonies
from api.console.sign_in.self_service_audit import SelfServiceAudit
from api.console.sign_in.sessions import Sessions, Viewer
from api.console.sign_in.webauthn_verifier import NEEDS_SCRIPT, PasskeyRefused
from api.console.ui.rendering import Pages, Values
from domain.security.passkeys import Ceremony
from store.people import second_factor as factors
from store.people import users
from store.people.identities import has_identity

PROOF_LIFETIME = timedelta(minutes=10)
PROOF_SECONDS = int(PROOF_LIFETIME.total_seconds())


@dataclass(frozen=True, slots=True)
class SensitiveAction:
    """A form that needs a proof. `description` completes the sentence "To ..."."""

    description: str
    page: str


# Keyed by the path of the POST. A test fails for a new form that it does not classify
# (tests/console/sign_in/test_step_up.py).
SENSITIVE_ACTIONS: Mapping[str, SensitiveAction] = {
    "/projects": SensitiveAction("create a project and see its secrets", "/projects"),
    "/projects/{project_id}": SensitiveAction(
        "change the settings of a project", "/projects/{project_id}"
    ),
    "/projects/{project_id}/suspend": SensitiveAction(
        "suspend a project", "/projects/{project_id}"
    ),
    "/projects/{project_id}/resume": SensitiveAction("resume a project", "/projects/{project_id}"),
    "/projects/{project_id}/delete": SensitiveAction(
        "delete a project permanently", "/projects/{project_id}"
    ),
    "/audit/export": SensitiveAction("export the audit log", "/audit"),
    "/projects/{project_id}/keys": SensitiveAction("create an API key", "/projects/{project_id}"),
    "/projects/{project_id}/start/key": SensitiveAction(
        "create an API key", "/projects/{project_id}/start"
    ),
    "/projects/{project_id}/signing-secret": SensitiveAction(
        "create a new signing secret", "/projects/{project_id}"
    ),
    "/projects/{project_id}/signing-secret/finish": SensitiveAction(
        "stop signing with the old secret", "/projects/{project_id}"
    ),
    "/projects/{project_id}/sources": SensitiveAction(
        "add a source and store its secret", "/projects/{project_id}/sources"
    ),
    "/projects/{project_id}/sources/{source_id}": SensitiveAction(
        "change a source or its secret", "/projects/{project_id}/sources/{source_id}"
    ),
    "/projects/{project_id}/destinations": SensitiveAction(
        "change where alerts go", "/projects/{project_id}"
    ),
    "/projects/{project_id}/destinations/{destination_id}": SensitiveAction(
        "change where alerts go", "/projects/{project_id}"
    ),
    "/projects/{project_id}/destinations/{destination_id}/disable": SensitiveAction(
        "change where alerts go", "/projects/{project_id}"
    ),
    "/projects/{project_id}/destinations/{destination_id}/enable": SensitiveAction(
        "change where alerts go", "/projects/{project_id}"
    ),
    "/projects/{project_id}/destinations/{destination_id}/remove": SensitiveAction(
        "change where alerts go", "/projects/{project_id}"
    ),
    "/projects/{project_id}/repair-rules": SensitiveAction(
        "change the rules of automatic repair", "/projects/{project_id}"
    ),
    "/projects/{project_id}/members": SensitiveAction(
        "invite someone to a project", "/projects/{project_id}"
    ),
    "/projects/{project_id}/members/{user_id}/role": SensitiveAction(
        "change the role of a member", "/projects/{project_id}"
    ),
    "/login/password": SensitiveAction("change your password", "/login/password"),
    "/account/totp": SensitiveAction("set up your authenticator app", "/account/security"),
    "/account/totp/confirm": SensitiveAction("turn on your authenticator app", "/account/totp"),
    "/account/recovery-codes": SensitiveAction("create new recovery codes", "/account/security"),
    "/account/passkeys/begin": SensitiveAction("add a passkey", "/account"),
    "/account/passkeys": SensitiveAction("add a passkey", "/account"),
    "/account/passkeys/{passkey_id}/rename": SensitiveAction("rename a passkey", "/account"),
    "/account/passkeys/{passkey_id}/remove": SensitiveAction("remove a passkey", "/account"),
}
WRONG_CODE = "This code is incorrect or was already used."
WRONG_PASSWORD = "Incorrect password."  # noqa: S105 - a text


class ProofNeeded(Exception):
    """The action needs a proof of identity. `page` is the response that asks for it."""

    def __init__(self, page: Response) -> None:
        super().__init__()
        self.page = page


class StepUpAuth:
    """Asks for a proof before sensitive actions. Created once per process."""

    def __init__(
        self,
        parts: ConsoleDependencies,
        sessions: Sessions,
        sign_in_flow: SignInFlow,
        passkeys: PasskeyCeremonies,
        self_service_audit: SelfServiceAudit,
        pages: Pages,
    ) -> None:
        self._parts = parts
        self._sessions = sessions
        self._attempts = sign_in_flow.attempts
        self._passkeys = passkeys
        self._self_service_audit = self_service_audit
        self._pages = pages

    async def confirm(
        self, request: Request, viewer: Viewer, fields: Mapping[str, str], *, path: str
    ) -> Mapping[str, str]:
        """The fields with which the action continues: its own, or those that were sent before the
        proof. `path` is the route's path.

        Raises:
            ProofNeeded, TooManyLoginAttempts.
        """
        sensitive, now = SENSITIVE_ACTIONS.get(path), viewer.read_at
        if sensitive is None:
            return fields
        carried = self._sessions.unseal_fields(
            fields.get("carried", ""),
            viewer=viewer,
            path=request.url.path,
            now=now,
            seconds=PROOF_SECONDS,
        )
        has_proof = is_fresh(viewer.proved_at, now)
        if carried is None:
            if has_proof:
                return fields
            raise ProofNeeded(await self._page(request, viewer, sensitive, fields, now=now))
        problem = "" if has_proof else await self._proof_problem(request, viewer, fields)
        if not problem:
            return carried
        raise ProofNeeded(
            await self._page(request, viewer, sensitive, carried, now=now, problem=problem)
        )

    async def _proof_problem(
        self, request: Request, viewer: Viewer, fields: Mapping[str, str]
    ) -> str:
        """Check the proof, and record it in the session. The problem for the person; empty if the
        proof is accepted.
        """
        if _is_by_passkey(fields):
            return await self._passkey_problem(request, viewer, fields.get("passkey", ""))
        async with self._parts.database.reading() as session:
            needs_code = await factors.has_second_factor(session, viewer.user_id)
        attempt = self._attempts.for_step_up(
            request, viewer.user_id, by="code" if needs_code else "password"
        )
        await self._attempts.count(attempt)
        check = self._check_code if needs_code else self._check_password
        if not await check(request, viewer, fields.get("proof", "")):
            await self._attempts.record_failure(attempt)
            return WRONG_CODE if needs_code else WRONG_PASSWORD
        await self._attempts.record_success(attempt)
        return ""

    async def _passkey_problem(self, request: Request, viewer: Viewer, answer: str) -> str:
        """As `_proof_problem`, of the answer of a passkey."""
        if not answer:
            return NEEDS_SCRIPT
        attempt = self._attempts.for_step_up(request, viewer.user_id, by="passkey")
        await self._attempts.count(attempt)
        try:
            used = await self._passkeys.verify(
                answer, Ceremony.STEP_UP, browser=viewer.token, user_id=viewer.user_id
            )
        except PasskeyRefused as refused:
            await self._attempts.record_failure(attempt)
            return refused.text
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            is_valid = await self._passkeys.record_use(session, request, used, now=now)
            if is_valid:
                await factors.mark_proved(session, token=viewer.token, now=now)
        if not is_valid:
            await self._attempts.record_failure(attempt)
            return MAY_BE_COPIED
        await self._attempts.record_success(attempt)
        return ""

    async def _check_code(self, request: Request, viewer: Viewer, proof: str) -> bool:
        """Check the code and record the proof in the session."""
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            accepted = await factors.accept_code(
                session, self._parts.sealer, viewer.user_id, code=proof, now=now
            )
            if accepted is not None:
                await factors.mark_proved(session, token=viewer.token, now=now)
                await self._self_service_audit.record_code(
                    session, request, accepted, viewer.user_id, now=now
                )
        return accepted is not None

    async def _check_password(self, request: Request, viewer: Viewer, proof: str) -> bool:
        """Check the password and record the proof in the session."""
        async with self._parts.database.reading() as session:
            found = await users.check_password(session, email=viewer.email, password=proof)
        if found is None or found.user_id != viewer.user_id:
            return False
        async with self._parts.database.transaction() as session:
            await factors.mark_proved(
                session, token=viewer.token, now=await self._parts.database.now(session)
            )
        return True

    async def _page(
        self,
        request: Request,
        viewer: Viewer,
        sensitive: SensitiveAction,
        fields: Mapping[str, str],
        *,
        now: datetime,
        problem: str = "",
    ) -> Response:
        path, back = request.url.path, sensitive.page.format_map(request.path_params)
        values: Values = {
            "viewer": viewer,
            "description": sensitive.description,
            "action": path,
            "back": back,
            "carried": self._sessions.seal_fields(fields, viewer=viewer, path=path, now=now),
            "kind": await self._kind(viewer),
            "passkeys": await self._passkeys.usable(viewer.user_id),
            "problem": problem,
        }
        return self._pages.page("proof.html", values, status=422 if problem else 200)

    async def _kind(self, viewer: Viewer) -> str:
        """How the user can confirm their identity without a passkey: by `code`, `recovery` code,
        `password`, `issuer` or `link`.
        """
        async with self._parts.database.reading() as session:
            if await factors.has_totp(session, viewer.user_id):
                return "code"
            if await factors.has_second_factor(session, viewer.user_id):
                return "recovery"
            if viewer.has_password:
                return "password"
            provider = self._parts.oidc_provider
            if provider is not None and await has_identity(
                session, issuer=provider.url, user_id=viewer.user_id
            ):
                return "issuer"
        return "link"


def is_fresh(proved_at: datetime, now: datetime) -> bool:
    """Whether a proof is still valid."""
    return now - proved_at < PROOF_LIFETIME


def _is_by_passkey(fields: Mapping[str, str]) -> bool:
    """Whether the proof is that of a passkey. Its form has no other field for a proof."""
    return bool(fields.get("passkey")) or ("passkey" in fields and "proof" not in fields)
