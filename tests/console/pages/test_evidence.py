"""Owners download the evidence of an event; others neither see the link nor get the file."""

import json

from domain.audit import AuditAction
from domain.lifecycle import LifecycleState
from domain.users import Role
from store.audit.log import AuditFilters
from store.evidence.signatures import verify_evidence
from tests.console.people import ConsoleWorld
from tests.support.given import Story


async def test_owner_downloads_a_file_that_verifies(world: ConsoleWorld, story: Story) -> None:
    event_id, _ = await story.reach(LifecycleState.RECOVERED)
    owner = await world.member("owner", story.project.id, Role.OWNER)

    page = await owner.get(f"/events/{event_id}")
    file = await owner.get(f"/events/{event_id}/evidence")

    assert f'href="/events/{event_id}/evidence" download' in page.text
    assert file.status_code == 200
    assert file.headers["content-disposition"] == (
        f'attachment; filename="makegood-evidence-{event_id}.json"'
    )
    assert file.headers["content-type"] == "application/json"
    assert file.headers["cache-control"] == "no-store"
    (key,) = await world.parts.operations.evidence.list_keys()
    verdict = verify_evidence(file.content, public_keys=[key.public_key])
    assert (verdict.problem, verdict.is_signer_known) == (None, True)
    assert json.loads(file.content)["event_id"] == event_id


async def test_download_creates_the_key_in_the_name_of_its_person_and_leaves_no_other_entry(
    world: ConsoleWorld, story: Story
) -> None:
    event_id = await story.receipt()
    administrator = await world.administrator()
    recorded = await world.parts.operations.audit.list_audit(AuditFilters(project_id=None))

    for _ in range(2):
        assert (await administrator.get(f"/events/{event_id}/evidence")).status_code == 200

    after = await world.parts.operations.audit.list_audit(AuditFilters(project_id=None))
    (entry,) = after.rows[: len(after.rows) - len(recorded.rows)]
    assert (entry.action, entry.actor) == (
        AuditAction.EVIDENCE_KEY_CREATED.value,
        administrator.user_id,
    )


async def test_operator_sees_no_link_and_gets_no_file(world: ConsoleWorld, story: Story) -> None:
    """The file holds entries of the audit log, which operators do not see."""
    event_id = await story.receipt()
    operator = await world.member("operator", story.project.id, Role.OPERATOR)

    page = await operator.get(f"/events/{event_id}")
    file = await operator.get(f"/events/{event_id}/evidence")

    assert page.status_code == 200
    assert "evidence" not in page.text
    assert file.status_code == 403
    assert await world.parts.operations.evidence.list_keys() == []
