"""`makegood secret`: rotates the root secret, shows what still needs the previous one, and deletes
it.

A secret from the environment is replaced there, in steps that `status` prints. A secret that
`makegood up` created is replaced in its file. `store.crypto.root_secret` re-encrypts the stored
values. No command prints a secret.
"""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli.local_operations import cli_actor, read_sealer, with_store
from cli.options import JsonFlag
from cli.output import CommandFailed, ExitCode, print_notice, print_record
from cli.settings import read_settings, read_whole_settings
from domain.audit import AuditAction, Subject, SubjectType

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.settings import Settings
    from store.crypto.root_secret import SecretStatus
    from store.db.database import Database

app = typer.Typer(help="The root secret: rotate it without downtime.", no_args_is_help=True)
RETRY_SECONDS = 0.5
SET_BOTH = (
    "set MAKEGOOD_SECRET_KEY to a new secret and MAKEGOOD_SECRET_KEY_PREVIOUS to the previous one,"
    " restart every process with both, one after the other, and run `makegood secret rotate`"
)


@app.command("rotate")
def rotate(as_json: JsonFlag = False) -> None:
    """Re-encrypt all secrets under the new root secret. The previous one is needed until `makegood
    secret status` says otherwise.
    """
    from cli.up.data_directory import DataDirectoryError, locked

    settings = read_settings()
    if settings.secret_key is not None:
        return print_record(_rotate_store(settings), as_json=as_json)
    settings = read_whole_settings()
    try:
        # A running `makegood up` would know only the old secret.
        with locked(settings.data_dir):
            _replace_file(settings)
            print_record(_rotate_store(settings), as_json=as_json)
    except DataDirectoryError as error:
        raise CommandFailed(f"stop Makegood first: {error}") from None
    if not as_json:
        print_notice(f"Store a copy of {settings.secret_key_path}; the next `makegood up` uses it.")


@app.command("status")
def status(as_json: JsonFlag = False) -> None:
    """Print which root secret is in force, what still needs the previous one, and the next step."""
    settings = read_whole_settings()
    print_record(_status_record(_status(settings), settings), as_json=as_json)


@app.command("drop")
def drop(
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also when API keys still need it; they are refused from then on."
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete the previous root secret from the data directory, once nothing needs it."""
    settings = read_whole_settings()
    if settings.secret_key is not None:
        raise CommandFailed(
            "it is not in the data directory: remove MAKEGOOD_SECRET_KEY_PREVIOUS from the"
            " environment",
            ExitCode.USAGE,
        )
    found = _status(settings)
    is_needed = not found.is_rotated or found.has_old_data_keys or (found.old_keys and not force)
    if found.has_previous and is_needed:
        raise CommandFailed(f"the previous secret is still needed: {_next_step(found, settings)}")
    if found.has_previous:
        _record_drop(settings, found)
    settings.previous_secret_key_path.unlink(missing_ok=True)
    print_record({"dropped": found.has_previous}, as_json=as_json)


def _rotate_store(settings: "Settings") -> dict[str, object]:
    from store.audit.log import record
    from store.crypto.encryption import SealBroken
    from store.crypto.root_secret import NotEverywhere, rotate

    sealer, actor = read_sealer(settings), cli_actor()

    async def act(database: "Database") -> int:
        async with database.transaction() as session:
            now = await database.now(session)
            wrapped = await rotate(session, sealer, now)
            # Recording also signs the end of the audit log with the new secret.
            details = {"in_force": sealer.current.fingerprint, "data_keys_wrapped": wrapped}
            subject, action = Subject(SubjectType.STORE), AuditAction.SECRET_KEY_ROTATED
            await record(session, sealer, actor, action, now=now, subject=subject, details=details)
            return wrapped

    found = _status(settings)
    if not found.has_previous and found.is_rotated:
        raise CommandFailed(f"there is no new secret to rotate to: {SET_BOTH}", ExitCode.USAGE)
    _refuse_unopened(found)
    try:
        wrapped = _once_known_everywhere(lambda: with_store(settings, act))
    except NotEverywhere as error:
        raise CommandFailed(str(error)) from None
    except SealBroken:
        _refuse_unopened(_status(settings))
        raise
    return {"data_keys_wrapped": wrapped, **_status_record(_status(settings), settings)}


def _record_drop(settings: "Settings", found: "SecretStatus") -> None:
    """Record the drop before the file is deleted. If the deletion fails, the next `drop` repeats
    it.
    """
    from store.audit.log import record

    sealer, actor = read_sealer(settings), cli_actor()
    details = {"in_force": found.in_force, "keys_refused": [key.id for key in found.old_keys]}

    async def act(database: "Database") -> None:
        async with database.transaction() as session:
            now = await database.now(session)
            subject, action = Subject(SubjectType.STORE), AuditAction.SECRET_KEY_DROPPED
            await record(session, sealer, actor, action, now=now, subject=subject, details=details)

    with_store(settings, act)


def _once_known_everywhere(work: "Callable[[], int]") -> int:
    """Run the work, retrying while a process without the new secret seems alive. A stopped one does
    for 10 s.
    """
    from store.crypto.root_secret import ALIVE_SECONDS, NotEverywhere

    retry_until = time.monotonic() + ALIVE_SECONDS + 1
    while True:
        try:
            return work()
        except NotEverywhere:
            if time.monotonic() > retry_until:
                raise
        time.sleep(RETRY_SECONDS)


def _status(settings: "Settings") -> "SecretStatus":
    from store.crypto.root_secret import secret_status

    sealer = read_sealer(settings)

    async def act(database: "Database") -> "SecretStatus":
        async with database.reading() as session:
            return await secret_status(session, sealer, await database.now(session))

    return with_store(settings, act)


def _status_record(found: "SecretStatus", settings: "Settings") -> dict[str, object]:
    return {
        "in_force": found.in_force,
        "rotated": found.is_rotated,
        "previous_known": found.has_previous,
        "projects_to_wrap": [*found.old_projects, *found.unopened],
        "authenticator_apps_to_wrap": found.old_factors,
        "authenticator_apps_not_opened": [
            one.email or one.user_id for one in found.unopened_factors
        ],
        "keys_not_used_since": [
            f"{key.id} ({key.label}, project {key.project_id})" for key in found.old_keys
        ],
        "can_drop_previous": found.can_drop_previous,
        "next": _next_step(found, settings),
    }


def _next_step(found: "SecretStatus", settings: "Settings") -> str:
    """The operator's next step, on one line."""
    if found.has_unopened:
        return _unopened(found)
    if not found.has_previous:
        return (
            "nothing; to replace the secret"
            f" {'run `makegood secret rotate`' if settings.secret_key is None else SET_BOTH}"
        )
    if not found.is_rotated or found.has_old_data_keys:
        return "restart every process with both secrets, then run `makegood secret rotate`"
    if found.old_keys:
        return "wait until each of these API keys was used once, or revoke it, then run this again"
    if settings.secret_key is None:
        return "run `makegood secret drop`"
    return (
        "restart every process without MAKEGOOD_SECRET_KEY_PREVIOUS; store it with the backups that"
        " were made under it"
    )


def _refuse_unopened(found: "SecretStatus") -> None:
    if found.has_unopened:
        raise CommandFailed(f"nothing was changed: {_unopened(found)}")


def _unopened(found: "SecretStatus") -> str:
    """The error text for values that no known secret decrypts: which, and how to fix it."""
    people = [one.email or one.user_id for one in found.unopened_factors]
    names = [f"the data key of project {project_id}" for project_id in found.unopened]
    names += [f"the authenticator app of {person}" for person in people]
    if found.lost_evidence_key:
        names.append(f"the evidence key {found.lost_evidence_key}")
    fix = "set MAKEGOOD_SECRET_KEY_PREVIOUS to the secret that was used before"
    if people:
        fix += (
            "; if it is lost, the person must set the app up again after `makegood user reset-totp"
            f" {people[0]}`"
        )
    if found.lost_evidence_key:
        fix += "; if it is lost, `makegood evidence replace-key` creates another evidence key"
    return f"no known secret decrypts {', '.join(names)}: {fix}"


def _replace_file(settings: "Settings") -> None:
    """Replace the secret's file and keep the old one beside it. Continues an interrupted
    replacement.
    """
    from cli.up.data_directory import replace_secret_key

    found = _status(settings)
    _refuse_unopened(found)
    if not found.has_previous:
        replace_secret_key(settings)
    elif found.is_rotated:
        raise CommandFailed(f"the last rotation is not finished: {_next_step(found, settings)}")
