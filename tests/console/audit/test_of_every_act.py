"""Whatever changes something has a line here with what it leaves in the audit log: forms of the console, calls of REST, commands.

The tables are compared with router, document and command line; that each entry is written, and what is in it, is tested where the
act is.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from fastapi.routing import APIRoute

from api.console.composition import ConsoleDependencies
from api.console.routes import console_router
from api.rest.openapi import document
from cli.main import app
from domain.audit import AuditAction

TESTS = Path(__file__).parents[2]
# An act that has no entry, and why.
ON_THE_TIMELINE = "an app's own word, on the event's timeline"
NOTHING_YET = "asked for a second factor before anything is set up: `/account/totp/confirm` is the act"
READS = "changes nothing"
SERVES = "runs until it is told to stop; what is done through it has its own entries"
ON_THE_TABLES = (
    "changes no row that anybody made; what an older version has no table for is in the backup that upgrading asks for"
)

FORMS = {
    "/login": "signed_in sign_in_failed tries_refused",
    "/login/link": "signed_in sign_in_failed",
    "/login/password": "password_set",
    "/login/code": "signed_in recovery_code_used sign_in_failed proof_failed",
    "/logout": "signed_out",
    "/join": "invitation_accepted user_created signed_in",
    "/account/totp": NOTHING_YET,
    "/account/totp/confirm": "second_factor_enabled",
    "/account/totp/remove": "second_factor_removed",
    "/account/recovery-codes": "recovery_codes_renewed",
    "/account/sessions/end-others": "sessions_ended",
    "/account/sessions/{session_id}/end": "sessions_ended",
    "/incidents/{incident_id}/reprocess": "reprocess_requested",
    "/incidents/{incident_id}/acknowledge": "incident_acknowledged",
    "/incidents/{incident_id}/resolve": "incident_resolved",
    "/events/{event_id}/expire": "receipt_expired",
    "/events/{event_id}/restart": "run_restarted",
    "/projects": "project_created",
    "/projects/{project_id}": "project_changed",
    "/projects/{project_id}/delete": "project_deleted",
    "/projects/{project_id}/keys": "key_created",
    "/projects/{project_id}/keys/{key_id}/revoke": "key_revoked",
    "/projects/{project_id}/signing-secret": "signing_secret_rotated",
    "/projects/{project_id}/signing-secret/finish": "signing_secret_rotation_finished",
    "/projects/{project_id}/members": "invitation_created",
    "/projects/{project_id}/members/{user_id}/role": "role_changed",
    "/projects/{project_id}/members/{user_id}/remove": "role_revoked",
    "/projects/{project_id}/invitations/{invitation_id}/withdraw": "invitation_withdrawn",
    "/audit/export": "audit_exported",
}
CALLS = {
    "POST /api/v1/receipt": ON_THE_TIMELINE,
    "POST /api/v1/result": ON_THE_TIMELINE,
    "POST /api/v1/events/{event_id}/expire": "receipt_expired",
    "POST /api/v1/events/{event_id}/restart": "run_restarted",
    "POST /api/v1/incidents/{incident_id}/reprocess": "reprocess_requested",
    "POST /api/v1/incidents/{incident_id}/resolve": "incident_resolved",
    "POST /api/v1/incidents/{incident_id}/acknowledge": "incident_acknowledged",
    "PATCH /api/v1/project": "project_changed",
}
COMMANDS = {
    **dict.fromkeys(("up", "api", "worker", "mailbox"), SERVES),
    **dict.fromkeys(("doctor", "config", "openapi", "version", "signature make", "signature verify"), READS),
    **{f"{what} list": READS for what in ("project", "key", "user", "incident", "receipt", "audit")},
    **{f"{what} show": READS for what in ("project", "incident", "receipt")},
    "receipt timeline": READS,
    **dict.fromkeys(("user sessions", "secret status"), READS),
    **dict.fromkeys(("trigger", "receipt send", "result send"), ON_THE_TIMELINE),
    "migrate": ON_THE_TABLES,
    "demo": "project_created reprocess_requested",
    "backup": "backup_started",
    "restore": "store_restored",
    "project create": "project_created",
    "project set": "project_changed",
    "project suspend": "project_suspended",
    "project resume": "project_resumed",
    "project delete": "project_deleted",
    "project rotate-secret": "signing_secret_rotated",
    "project finish-rotation": "signing_secret_rotation_finished",
    "key create": "key_created",
    "key revoke": "key_revoked",
    "secret rotate": "secret_key_rotated",
    "secret drop": "secret_key_dropped",
    "user link": "login_link_created user_created",
    "user create": "user_created administrator_granted login_link_created",
    "user grant": "role_granted role_changed",
    "user revoke": "role_revoked",
    "user promote": "administrator_granted",
    "user demote": "administrator_revoked",
    "user delete": "user_deleted",
    "user reset-totp": "second_factor_reset",
    "user sign-out": "sessions_ended",
    "incident reprocess": "reprocess_requested",
    "incident acknowledge": "incident_acknowledged",
    "incident resolve": "incident_resolved",
    "receipt expire": "receipt_expired",
    "receipt restart": "run_restarted",
    "audit export": "audit_exported",
    "audit verify": "audit_damage_found",
}
# Neither a form nor a call nor a command of its own.
ON_THE_WAY = {"identity_linked": "coming back from the identity provider, a GET"}
TABLES = {**FORMS, **CALLS, **COMMANDS}


def commands(group: object, before: str = "") -> Iterator[str]:
    """The names of all commands, those of groups with the group's before."""
    for name, command in group.commands.items():  # type: ignore[attr-defined]  # click's, which typer does not export
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name


def actions(told: str) -> set[str]:
    """The actions that a line names; none where it says why there is none."""
    known = {action.value for action in AuditAction}
    return set(told.split()) if set(told.split()) <= known else set()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_form_has_its_line(parts: ConsoleDependencies) -> None:
    routes = [route for route in console_router(parts).routes if isinstance(route, APIRoute)]

    assert sorted(FORMS) == sorted(route.path for route in routes if route.methods == {"POST"})
    assert {method for route in routes for method in route.methods} == {"GET", "POST"}


def test_every_call_that_is_no_question_has_its_line() -> None:
    operations = {f"{method.upper()} {path}" for path, methods in document()["paths"].items() for method in methods}

    assert set(CALLS) == {operation for operation in operations if not operation.startswith("GET ")}


def test_every_command_has_its_line() -> None:
    assert sorted(COMMANDS) == sorted(commands(typer.main.get_command(app)))


def test_every_act_is_one_that_the_log_knows_or_says_why_it_is_none() -> None:
    reasons = {ON_THE_TIMELINE, NOTHING_YET, READS, SERVES, ON_THE_TABLES}

    assert {name: told for name, told in TABLES.items() if not actions(told) and told not in reasons} == {}
    reached = {action for told in TABLES.values() for action in actions(told)} | set(ON_THE_WAY)
    assert reached == {action.value for action in AuditAction}


def test_every_act_is_looked_for_in_the_log_by_a_test_of_its_own() -> None:
    texts = [path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py") if path != Path(__file__)]
    looked_for = {
        action.value
        for action in AuditAction
        if any(re.search(rf'"{action.value}"|AuditAction\.{action.name}\b', text) for text in texts if "audit" in text)
    }

    assert {action.value for action in AuditAction} - looked_for == set()
