"""Console actions in the audit log; and the audit page with its filters, paging and export."""

import html
import json
import re
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from api.console.composition import ConsoleDependencies
from api.console.pages.audit import render_entry
from domain.audit import GENESIS, Actor, AuditAction, AuditEntry
from domain.ids import ProjectId
from domain.projects import CreatedProject
from operations.responses.audit import AuditList
from store.audit import log as audit
from tests.console.conftest import EMAIL, PASSWORD, Visitor
from tests.support.given import START, Story

Json = dict[str, Any]


async def log(parts: ConsoleDependencies) -> list[Json]:
    """The whole log, oldest first."""
    filters = audit.AuditFilters(project_id=None)
    page = await parts.operations.audit.list_audit(filters, limit=100)
    return list(reversed(AuditList.of(page).to_json()["data"]))


@pytest.fixture
async def operator(signed_in_by_form: Visitor) -> Visitor:
    """The sign-in has its entry in the audit log."""
    return signed_in_by_form


async def test_sign_in_and_sign_out_are_recorded_without_password_and_address(
    operator: Visitor, parts: ConsoleDependencies
) -> None:
    await operator.post("/login/password", page="/login/password", email=EMAIL, password=PASSWORD)
    await operator.post("/logout", page="/incidents")
    await operator.post("/login", page="/login", email=EMAIL, password="a wrong secret")
    await operator.post("/login", page="/login", email="hunter2@shop.example", password="another")
    await operator.post("/login", page="/login", email=EMAIL, password=PASSWORD)

    entries = await log(parts)

    user_id = entries[0]["subject_id"]
    recorded = [
        (entry["action"], entry["actor"], entry["subject_id"], entry["details"].get("by"))
        for entry in entries
    ]
    assert recorded == [
        ("user_created", user_id, user_id, "link"),
        ("signed_in", user_id, user_id, "link"),
        ("password_set", user_id, user_id, None),
        ("signed_out", user_id, user_id, None),
        ("sign_in_failed", "visitor", user_id, "password"),
        ("sign_in_failed", "visitor", None, "password"),
        ("signed_in", user_id, user_id, "password"),
    ]
    assert {entry["address"] for entry in entries} == {"127.0.0.1"}
    assert not re.search(f"{EMAIL}|{PASSWORD}|secret|hunter2", json.dumps(entries))


async def test_used_link_is_recorded_as_a_failed_sign_in(
    operator: Visitor, parts: ConsoleDependencies, login_token: str
) -> None:
    await operator.redeem(login_token)

    last = (await log(parts))[-1]

    assert (last["action"], last["actor"], last["details"]) == (
        "sign_in_failed",
        "visitor",
        {"by": "link"},
    )
    assert login_token not in json.dumps(last)


async def test_sign_in_without_its_audit_entry_does_not_happen(
    visitor: Visitor, parts: ConsoleDependencies, login_token: str
) -> None:
    async with parts.database.transaction() as session:
        await session.execute(text("ALTER TABLE audit_head RENAME TO elsewhere"))
    try:
        with pytest.raises(DBAPIError):
            await visitor.post("/login/link", page=f"/login/link?token={login_token}")
    finally:
        async with parts.database.transaction() as session:
            await session.execute(text("ALTER TABLE elsewhere RENAME TO audit_head"))

    answer = await visitor.post("/login/link", page=f"/login/link?token={login_token}")

    assert answer.status_code == 303  # the link is still valid
    assert [entry["action"] for entry in await log(parts)] == ["user_created", "signed_in"]


async def test_forms_record_the_signed_in_user_as_actor(
    operator: Visitor, parts: ConsoleDependencies, story: Story, project: CreatedProject
) -> None:
    event_id, incident_id = await story.opened()
    path, page = f"/projects/{project.project.id}", f"/events/{event_id}"
    settings = {
        "name": "shop",
        "timeout_minutes": "30",
        "alert_emails": "ops@shop.example",
        "late_result": "note",
    }
    await operator.post(path, page=path, repair_url="https://shop.example/repair", **settings)
    await operator.post(f"{path}/keys", page=path, label="CI", scopes="read")
    await operator.post(f"{path}/signing-secret", page=path)
    await operator.post(f"{path}/signing-secret/finish", page=path)
    await operator.post(f"{path}/keys/{project.key.id}/revoke", page=path)
    await operator.post(f"/incidents/{incident_id}/acknowledge", page=page)
    await operator.post(f"/incidents/{incident_id}/reprocess", page=page)
    await operator.post(f"/incidents/{incident_id}/resolve", page=page, reason="refunded")
    waiting = await story.receipt()
    await operator.post(f"/events/{waiting}/expire", page=f"/events/{waiting}")
    await operator.post("/projects", page="/projects", name="Acme", mode="live")

    entries = await log(parts)

    assert {entry["actor"] for entry in entries} == {entries[0]["subject_id"]}
    assert entries[2]["details"] == {"fields": ["late_result"]}
    assert [entry["action"] for entry in entries[2:]] == [
        *(
            "project_changed",
            "key_created",
            "signing_secret_rotated",
            "signing_secret_rotation_finished",
            "key_revoked",
        ),
        *(
            "incident_acknowledged",
            "reprocess_requested",
            "incident_resolved",
            "receipt_expired",
            "project_created",
        ),
    ]


async def test_page_shows_actor_and_action_with_links(
    operator: Visitor, story: Story, project: CreatedProject
) -> None:
    event_id, incident_id = await story.opened()
    await operator.post("/login/password", page="/login/password", email=EMAIL, password=PASSWORD)
    await operator.post(f"/incidents/{incident_id}/reprocess", page=f"/events/{event_id}")

    page = (await operator.open("/audit")).text

    assert "Reprocess requested" in page
    assert f'href="/incidents/{incident_id}"' in page
    assert (
        page.index("Reprocess requested</span>")
        < page.index("Password set</span>")
        < page.index("Signed in</span>")
    )
    assert len(re.findall(rf'<a href="/audit\?actor=\w+" title="\w+">{EMAIL}</a>', page)) == 4
    assert '<a href="/audit" aria-current="page">' in page
    assert (
        f'href="/audit?project={project.project.id}"'
        in (await operator.open(f"/projects/{project.project.id}")).text
    )


async def test_filters_are_in_the_address_and_kept_by_paging(
    operator: Visitor, parts: ConsoleDependencies, project: CreatedProject
) -> None:
    async with parts.database.transaction() as session:
        for _ in range(52):
            await audit.record(
                session,
                parts.sealer,
                Actor("temporal"),
                AuditAction.KEY_REVOKED,
                now=START,
                project_id=project.project.id,
            )
    filters = "actor=temporal&action=key_revoked&from=2026-11-23&to=2026-11-23"
    address = f"/audit?project={project.project.id}&{filters}"

    first = (await operator.open(address)).text
    older = html.unescape(first.split('rel="next" href="')[1].split('"')[0])
    second = (await operator.open(older)).text
    nothing = (await operator.open("/audit?to=2026-11-22")).text
    short = await operator.open("/audit?actor=&action=signed_in")

    row = '<span class="act">Key revoked</span>'
    assert (first.count(row), second.count(row)) == (50, 2)
    assert older.startswith(address)
    assert '<option value="key_revoked" selected>' in second
    assert "Nothing matches" in nothing
    assert (short.status_code, short.headers["location"]) == (303, "/audit?action=signed_in")


async def test_export_is_a_file_of_the_filtered_entries_and_is_recorded(
    operator: Visitor, parts: ConsoleDependencies
) -> None:
    action = await operator.post("/audit/export", page="/audit?action=signed_in")

    lines = [json.loads(line) for line in action.text.splitlines()]
    last = (await log(parts))[-1]
    assert action.headers["content-disposition"] == 'attachment; filename="makegood-audit.jsonl"'
    assert [line["action"] for line in lines] == ["signed_in"]
    assert (last["action"], last["actor"], last["details"]) == (
        "audit_exported",
        lines[0]["actor"],
        {"filters": ["action"]},
    )


async def test_export_needs_its_form_and_the_page_a_session(
    operator: Visitor, parts: ConsoleDependencies
) -> None:
    before = await log(parts)

    forged = await operator.client.post("/audit/export", data={"form_token": "0" * 64})
    operator.client.cookies.clear()
    outside = await operator.open("/audit")

    assert (forged.status_code, outside.headers["location"]) == (403, "/login?back=/audit")
    assert await log(parts) == before


def test_entry_of_a_newer_version_is_still_rendered() -> None:
    entry = AuditEntry(
        sequence=1,
        at=START,
        actor="robot_1",
        address=None,
        request_id=None,
        action="moon_landed",
        subject_type="moon",
        subject_id=None,
        project_id=ProjectId("prj_gone"),
        details='{"stage": 2, "crew": ["a", "b"]}',
        previous_hash=GENESIS,
        hash=GENESIS,
    )

    line = render_entry(entry, {}, {})

    assert (line.action, line.actor, line.subject, line.link, line.project) == (
        "Moon landed",
        "robot_1",
        "Moon",
        None,
        "prj_gone",
    )
    assert line.facts == (("Stage", "2"), ("Crew", "a, b"))


async def test_keys_are_shown_by_label_and_assignees_by_address(
    member: Visitor, parts: ConsoleDependencies, story: Story, project: CreatedProject
) -> None:
    _, incident_id = await story.opened()
    by_key = {"actor": Actor(project.key.id)}
    await parts.operations.triage.assign(None, incident_id, {"assignee": EMAIL}, **by_key)

    page = (await member.open("/audit?action=incident_assigned")).text

    assert f">{project.key.label}</a>" in page
    assert f'<span class="hint">Assignee</span> {EMAIL}' in page
