"""`makegood secret`: replaces the root secret, says what the one before is still needed for, and lets it go.

A secret that the environment gives is replaced there, in steps that `status` tells; one that `makegood up` made is replaced in
its file. What is stored is changed by `store.crypto.root_secret`. It never shows a secret.
"""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli.local_operations import Json, cli_actor, read_sealer, with_store
from cli.options import JsonFlag
from cli.output import CommandFailed, ExitCode, print_record, tell
from cli.settings import read_settings, read_whole_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.settings import Settings
    from store.crypto.root_secret import SecretStatus
    from store.db.database import Database

app = typer.Typer(help="The root secret: replace it while everything runs.", no_args_is_help=True)
AGAIN_SECONDS = 0.5
SET_BOTH = (
    "set MAKEGOOD_SECRET_KEY to a new secret and MAKEGOOD_SECRET_KEY_PREVIOUS to the one before, start every process again "
    "with both, one after the other, and run `makegood secret rotate`"
)


@app.command("rotate")
def rotate(as_json: JsonFlag = False) -> None:
    """Seal everything with the new root secret; the one before stays known until `makegood secret status` says it can go."""
    from cli.up.data_directory import DataDirectoryError, held

    settings = read_settings()
    if settings.secret_key is not None:
        return print_record(_rotated(settings), as_json=as_json)
    settings = read_whole_settings()
    try:
        # A running `makegood up` would know only the old one.
        with held(settings.data_dir):
            _replace_file(settings)
            print_record(_rotated(settings), as_json=as_json)
    except DataDirectoryError as error:
        raise CommandFailed(f"stop Makegood first: {error}") from None
    if not as_json:
        tell(f"Keep a copy of {settings.secret_key_path}; `makegood up` goes on with it.")


@app.command("status")
def status(as_json: JsonFlag = False) -> None:
    """Which root secret is in force, what still needs the one before, and what to do next."""
    settings = read_whole_settings()
    print_record(_told(_status(settings), settings), as_json=as_json)


@app.command("drop")
def drop(
    force: Annotated[bool, typer.Option("--force", help="Also when API keys need it; they are refused from then on.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete the root secret before this one from the data directory, once nothing needs it any more."""
    settings = read_whole_settings()
    if settings.secret_key is not None:
        raise CommandFailed(
            "it is not in the data directory: take MAKEGOOD_SECRET_KEY_PREVIOUS out of the environment", ExitCode.USAGE
        )
    found = _status(settings)
    is_needed = not found.is_rotated or found.old_projects or found.old_factors or (found.old_keys and not force)
    if found.has_previous and is_needed:
        raise CommandFailed(f"the previous secret is still needed: {_next_step(found, settings)}")
    if found.has_previous:
        _record_drop(settings, found)
    settings.previous_secret_key_path.unlink(missing_ok=True)
    print_record({"dropped": found.has_previous}, as_json=as_json)


def _rotated(settings: "Settings") -> Json:
    from domain.audit import AuditAction, Subject, SubjectType
    from store.audit.log import record
    from store.crypto.encryption import SealBroken
    from store.crypto.root_secret import NotEverywhere, rotate

    sealer, actor = read_sealer(settings), cli_actor()

    async def act(database: "Database") -> int:
        async with database.transaction() as session:
            now = await database.now(session)
            wrapped = await rotate(session, sealer, now)
            # It seals the log's end with the new secret, so that the previous one is not needed for it either.
            details = {"in_force": sealer.current.fingerprint, "data_keys_wrapped": wrapped}
            subject, action = Subject(SubjectType.STORE), AuditAction.SECRET_KEY_ROTATED
            await record(session, sealer, actor, action, now=now, subject=subject, details=details)
            return wrapped

    found = _status(settings)
    if not found.has_previous and found.is_rotated:
        raise CommandFailed(f"there is no new secret to go over to: {SET_BOTH}", ExitCode.USAGE)
    _refuse_unopened(found)
    try:
        wrapped = _once_known_everywhere(lambda: with_store(settings, act))
    except NotEverywhere as error:
        raise CommandFailed(str(error)) from None
    except SealBroken:
        _refuse_unopened(_status(settings))
        raise
    return {"data_keys_wrapped": wrapped, **_told(_status(settings), settings)}


def _record_drop(settings: "Settings", found: "SecretStatus") -> None:
    """Before the file goes: a drop that is told and did not happen is done by the next `drop`."""
    from domain.audit import AuditAction, Subject, SubjectType
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
    """What the work returns: a process that was just stopped looks alive for 10 s, and is waited for."""
    from store.crypto.root_secret import ALIVE_SECONDS, NotEverywhere

    patient_until = time.monotonic() + ALIVE_SECONDS + 1
    while True:
        try:
            return work()
        except NotEverywhere:
            if time.monotonic() > patient_until:
                raise
        time.sleep(AGAIN_SECONDS)


def _status(settings: "Settings") -> "SecretStatus":
    from store.crypto.root_secret import secret_status

    sealer = read_sealer(settings)

    async def act(database: "Database") -> "SecretStatus":
        async with database.reading() as session:
            return await secret_status(session, sealer, await database.now(session))

    return with_store(settings, act)


def _told(found: "SecretStatus", settings: "Settings") -> Json:
    return {
        "in_force": found.in_force,
        "rotated": found.is_rotated,
        "previous_known": found.has_previous,
        "projects_to_wrap": [*found.old_projects, *found.unopened],
        "authenticator_apps_to_wrap": found.old_factors,
        "authenticator_apps_not_opened": [one.email or one.user_id for one in found.unopened_factors],
        "keys_not_used_since": [f"{key.id} ({key.label}, project {key.project_id})" for key in found.old_keys],
        "can_drop_previous": found.can_drop_previous,
        "next": _next_step(found, settings),
    }


def _next_step(found: "SecretStatus", settings: "Settings") -> str:
    """What an operator does next, as one line."""
    if found.unopened or found.unopened_factors:
        return _unopened(found)
    if not found.has_previous:
        return f"nothing; to replace the secret {'run `makegood secret rotate`' if settings.secret_key is None else SET_BOTH}"
    if not found.is_rotated or found.old_projects or found.old_factors:
        return "start every process again with both secrets, then run `makegood secret rotate`"
    if found.old_keys:
        return "wait until each of these API keys was used once, or revoke it, then look again"
    if settings.secret_key is None:
        return "run `makegood secret drop`"
    return "start every process again without MAKEGOOD_SECRET_KEY_PREVIOUS; keep it with the backups that were made under it"


def _refuse_unopened(found: "SecretStatus") -> None:
    if found.unopened or found.unopened_factors:
        raise CommandFailed(f"nothing was changed: {_unopened(found)}")


def _unopened(found: "SecretStatus") -> str:
    """What no known secret opens, by name, and what to do about it."""
    people = [one.email or one.user_id for one in found.unopened_factors]
    told = [f"the data key of project {project_id}" for project_id in found.unopened]
    told += [f"the authenticator app of {person}" for person in people]
    mend = "set MAKEGOOD_SECRET_KEY_PREVIOUS to the secret that was used before"
    if people:
        mend += f"; where that is lost, let the person set the app up again after `makegood user reset-totp {people[0]}`"
    return f"no known secret opens {', '.join(told)}: {mend}"


def _replace_file(settings: "Settings") -> None:
    """A new secret in the place of the old one, which is kept beside it; a replacement that was interrupted is gone on with."""
    from cli.up.data_directory import replace_secret_key

    found = _status(settings)
    _refuse_unopened(found)
    if not found.has_previous:
        replace_secret_key(settings)
    elif found.is_rotated:
        raise CommandFailed(f"the last replacement has not ended: {_next_step(found, settings)}")
