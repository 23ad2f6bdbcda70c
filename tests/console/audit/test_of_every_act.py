"""Every changing form, REST call and command is listed with its audit actions.

The tables are compared with the router, the OpenAPI document and the command line. The entries
themselves are tested with their actions.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from fastapi.routing import APIRoute

from api.console.base import Console
from api.console.composition import ConsoleDependencies
from api.console.routes import console_router
from api.rest.openapi import document
from cli.main import app
from domain.audit import AuditAction

TESTS = Path(__file__).parents[2]
# Why an action has no audit entry.
ON_THE_TIMELINE = "sent by an app, recorded on the event's timeline"
NOTHING_YET = "nothing is set up yet: `/account/totp/confirm` is the action"
READS = "changes nothing"
ONLY_A_HINT = "whether other pages lead its reader to the checklist of a project"
ONLY_A_NAME = "a name for a search: it changes and shows nothing that its reader may not see"
ONLY_A_CHALLENGE = "stores a random number: its answer is the action"
ONLY_ITS_READER = "how times are shown to the user who chooses it"
SERVES = "a long-running process: actions through it have their own entries"
ON_THE_TABLES = "changes no user data; upgrading asks for a backup"

FORMS = {
    "/login": "signed_in sign_in_failed tries_refused",
    "/login/link": "signed_in sign_in_failed",
    "/login/password": "password_set",
    "/login/passkey": "signed_in sign_in_failed tries_refused passkey_counter_refused",
    "/login/passkey/options": ONLY_A_CHALLENGE,
    "/login/code/options": ONLY_A_CHALLENGE,
    "/account/proof/options": ONLY_A_CHALLENGE,
    "/account/passkeys/begin": ONLY_A_CHALLENGE,
    "/account/passkeys": "passkey_added",
    "/account/passkeys/{passkey_id}/rename": "passkey_renamed",
    "/account/passkeys/{passkey_id}/remove": "passkey_removed",
    "/account/dates": ONLY_ITS_READER,
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
    "/incidents/{incident_id}/unacknowledge": "incident_unacknowledged",
    "/incidents/{incident_id}/assign": "incident_assigned",
    "/incidents/{incident_id}/comments": "incident_commented",
    "/incidents/{incident_id}/snooze": "incident_snoozed",
    "/incidents/{incident_id}/reopen": "incident_reopened",
    "/events/{event_id}/deadline": "deadline_moved",
    "/views": ONLY_A_NAME,
    "/views/{view_id}/remove": ONLY_A_NAME,
    "/incidents/{incident_id}/stop-repair": "repair_stopped",
    "/groups/{group_id}/mute": "group_muted",
    "/groups/{group_id}/unmute": "group_unmuted",
    "/groups/{group_id}/acknowledge": "group_acknowledged",
    "/groups/{group_id}/resolve": "group_resolved",
    "/bulk-repairs/new": READS,
    "/projects/{project_id}/bulk-repairs": "bulk_repair_started",
    "/bulk-repairs/{bulk_id}/pause": "bulk_repair_paused",
    "/bulk-repairs/{bulk_id}/resume": "bulk_repair_resumed",
    "/bulk-repairs/{bulk_id}/abort": "bulk_repair_aborted",
    "/projects/{project_id}/holds": "hold_added",
    "/projects/{project_id}/holds/{hold_id}/remove": "hold_removed",
    "/projects/{project_id}/repair-rules": "repair_rules_changed",
    "/projects/{project_id}/repair-rules/{name}/arm": "repair_rule_armed",
    "/events/{event_id}/expire": "receipt_expired",
    "/events/{event_id}/restart": "run_restarted",
    "/events/{event_id}/payload": "payload_read",
    "/projects": "project_created",
    "/projects/{project_id}": "project_changed",
    "/projects/{project_id}/deadline": "project_changed",
    "/projects/{project_id}/delete": "project_deleted",
    "/projects/{project_id}/suspend": "project_suspended",
    "/projects/{project_id}/resume": "project_resumed",
    "/projects/{project_id}/repair-url/test": "repair_url_tested",
    "/projects/{project_id}/start/key": "key_created",
    "/projects/{project_id}/start/hide": ONLY_A_HINT,
    "/projects/{project_id}/start/show": ONLY_A_HINT,
    "/projects/{project_id}/keys": "key_created",
    "/projects/{project_id}/keys/{key_id}/revoke": "key_revoked",
    "/projects/{project_id}/signing-secret": "signing_secret_rotated",
    "/projects/{project_id}/signing-secret/finish": "signing_secret_rotation_finished",
    "/projects/{project_id}/sources": "source_added",
    "/projects/{project_id}/sources/{source_id}": "source_changed",
    "/projects/{project_id}/sources/{source_id}/check": "source_checked",
    "/projects/{project_id}/sources/{source_id}/pause": "source_changed",
    "/projects/{project_id}/sources/{source_id}/resume": "source_changed",
    "/projects/{project_id}/sources/{source_id}/remove": "source_removed",
    "/projects/{project_id}/destinations": "destination_added",
    "/projects/{project_id}/destinations/{destination_id}": "destination_changed",
    "/projects/{project_id}/destinations/{destination_id}/test": "destination_tested",
    "/projects/{project_id}/destinations/{destination_id}/disable": "destination_changed",
    "/projects/{project_id}/destinations/{destination_id}/enable": "destination_changed",
    "/projects/{project_id}/destinations/{destination_id}/remove": "destination_removed",
    "/alerts/unsubscribe/{token}": "destination_changed",
    "/alerts/acknowledge/{token}": "incident_acknowledged",
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
    "POST /api/v1/incidents/{incident_id}/stop-repair": "repair_stopped",
    "POST /api/v1/incidents/{incident_id}/acknowledge": "incident_acknowledged",
    "DELETE /api/v1/incidents/{incident_id}/acknowledge": "incident_unacknowledged",
    "POST /api/v1/incidents/{incident_id}/assign": "incident_assigned",
    "POST /api/v1/incidents/{incident_id}/comments": "incident_commented",
    "POST /api/v1/incidents/{incident_id}/snooze": "incident_snoozed",
    "POST /api/v1/incidents/{incident_id}/reopen": "incident_reopened",
    "PATCH /api/v1/events/{event_id}/deadline": "deadline_moved",
    "POST /api/v1/views": ONLY_A_NAME,
    "DELETE /api/v1/views/{view_id}": ONLY_A_NAME,
    "POST /api/v1/groups/{group_id}/mute": "group_muted",
    "POST /api/v1/groups/{group_id}/unmute": "group_unmuted",
    "POST /api/v1/groups/{group_id}/acknowledge": "group_acknowledged",
    "POST /api/v1/groups/{group_id}/resolve": "group_resolved",
    "POST /api/v1/bulk-repairs": "bulk_repair_started",
    "POST /api/v1/bulk-repairs/{bulk_id}/pause": "bulk_repair_paused",
    "POST /api/v1/bulk-repairs/{bulk_id}/resume": "bulk_repair_resumed",
    "POST /api/v1/bulk-repairs/{bulk_id}/abort": "bulk_repair_aborted",
    "POST /api/v1/holds": "hold_added",
    "DELETE /api/v1/holds/{hold_id}": "hold_removed",
    "PUT /api/v1/project/repair-rules": "repair_rules_changed",
    "POST /api/v1/project/repair-rules/{name}/arm": "repair_rule_armed",
    "POST /api/v1/sources": "source_added",
    "PATCH /api/v1/sources/{source_id}": "source_changed",
    "DELETE /api/v1/sources/{source_id}": "source_removed",
    "POST /api/v1/sources/{source_id}/check": "source_checked",
    "POST /api/v1/alert-destinations": "destination_added",
    "PATCH /api/v1/alert-destinations/{destination_id}": "destination_changed",
    "DELETE /api/v1/alert-destinations/{destination_id}": "destination_removed",
    "POST /api/v1/alert-destinations/{destination_id}/test": "destination_tested",
    "PATCH /api/v1/project": "project_changed",
    "POST /api/v1/project/test-repair": "repair_url_tested",
}
COMMANDS = {
    **dict.fromkeys(("up", "api", "worker", "mailbox"), SERVES),
    **dict.fromkeys(
        ("doctor", "config", "openapi", "version", "signature make", "signature verify"), READS
    ),
    **{
        f"{what} list": READS
        for what in ("project", "key", "user", "incident", "group", "source", "receipt", "audit")
    },
    **{f"{what} show": READS for what in ("project", "incident", "group", "source", "receipt")},
    "source report": READS,
    "overview": READS,
    "receipt timeline": READS,
    "receipt callback": READS,
    "receipt payload": "payload_read",
    "receipt evidence": "evidence_key_created",
    "evidence verify": READS,
    "evidence key": "evidence_key_created",
    "evidence replace-key": "evidence_key_created",
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
    "project test-repair": "repair_url_tested",
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
    "user remove-passkeys": "passkeys_reset",
    "user sign-out": "sessions_ended",
    "incident export": READS,
    "logs": READS,
    "incident view list": READS,
    "incident view save": ONLY_A_NAME,
    "incident view remove": ONLY_A_NAME,
    "incident reprocess": "reprocess_requested",
    "incident acknowledge": "incident_acknowledged",
    "incident resolve": "incident_resolved",
    "incident unacknowledge": "incident_unacknowledged",
    "incident assign": "incident_assigned",
    "incident comment": "incident_commented",
    "incident snooze": "incident_snoozed",
    "incident reopen": "incident_reopened",
    "receipt deadline": "deadline_moved",
    "incident stop-repair": "repair_stopped",
    "group mute": "group_muted",
    "group unmute": "group_unmuted",
    "group acknowledge": "group_acknowledged",
    "group resolve": "group_resolved",
    **{f"bulk {what}": READS for what in ("list", "show")},
    "bulk start": "bulk_repair_started",
    "bulk pause": "bulk_repair_paused",
    "bulk resume": "bulk_repair_resumed",
    "bulk abort": "bulk_repair_aborted",
    "hold add": "hold_added",
    "hold list": READS,
    "hold remove": "hold_removed",
    "project rules show": READS,
    "project rules set": "repair_rules_changed",
    "project rules arm": "repair_rule_armed",
    "source add": "source_added",
    **dict.fromkeys(("source set", "source pause", "source resume"), "source_changed"),
    "source check": "source_checked",
    "source remove": "source_removed",
    "destination list": READS,
    "destination add": "destination_added",
    "destination set": "destination_changed",
    "destination test": "destination_tested",
    "destination remove": "destination_removed",
    "receipt expire": "receipt_expired",
    "receipt restart": "run_restarted",
    "audit export": "audit_exported",
    "audit verify": "audit_damage_found",
}
# Actions without a form, call or command of their own.
INDIRECT = {"identity_linked": "the callback of the identity provider, a GET"}
TABLES = {**FORMS, **CALLS, **COMMANDS}


def commands(group: object, before: str = "") -> Iterator[str]:
    """Names of all commands, with those of their groups."""
    # A click group, whose type typer does not export.
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name


def actions(line: str) -> set[str]:
    """The actions of a line. Empty if the line gives a reason instead."""
    known = {action.value for action in AuditAction}
    return set(line.split()) if set(line.split()) <= known else set()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_form_is_in_the_table(parts: ConsoleDependencies) -> None:
    routes = [
        route for route in console_router(Console(parts)).routes if isinstance(route, APIRoute)
    ]

    assert sorted(FORMS) == sorted(route.path for route in routes if route.methods == {"POST"})
    assert {method for route in routes for method in route.methods} == {"GET", "POST"}


def test_every_changing_call_is_in_the_table() -> None:
    operations = {
        f"{method.upper()} {path}"
        for path, methods in document()["paths"].items()
        for method in methods
    }

    assert set(CALLS) == {operation for operation in operations if not operation.startswith("GET ")}


def test_every_command_is_in_the_table() -> None:
    assert sorted(COMMANDS) == sorted(commands(typer.main.get_command(app)))


def test_every_action_is_audited_or_has_a_reason() -> None:
    reasons = {ON_THE_TIMELINE, NOTHING_YET, READS, SERVES, ON_THE_TABLES, ONLY_A_NAME}
    reasons |= {ONLY_A_HINT, ONLY_A_CHALLENGE, ONLY_ITS_READER}

    assert {
        name: line for name, line in TABLES.items() if not actions(line) and line not in reasons
    } == {}
    reached = {action for line in TABLES.values() for action in actions(line)} | set(INDIRECT)
    assert reached == {action.value for action in AuditAction}


def test_every_audit_action_is_asserted_by_another_test() -> None:
    texts = [
        path.read_text(encoding="utf-8")
        for path in TESTS.rglob("test_*.py")
        if path != Path(__file__)
    ]
    looked_for = {
        action.value
        for action in AuditAction
        if any(
            re.search(rf'"{action.value}"|AuditAction\.{action.name}\b', text)
            for text in texts
            if "audit" in text
        )
    }

    assert {action.value for action in AuditAction} - looked_for == set()
