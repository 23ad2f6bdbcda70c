"""Acts on a group: on all its unresolved incidents, in batches, in timelines and the audit log."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from domain.audit import Actor, AuditAction
from domain.errors import IncidentAlreadyResolved, NotFound, ValidationFailed
from domain.groups.group import GroupState
from domain.ids import EventId
from domain.projects import CreatedProject
from domain.values.timestamps import to_iso
from operations.composition import Operations
from operations.groups import groups
from operations.groups.groups import GroupOperations
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.receipts.groups.queries import GroupFilters
from store.receipts.repairs import request_repair
from tests.support.given import OPERATOR, Story

NADIA = Actor("usr_nadia", address="192.0.2.7", request_id="req_1")


async def judge_nothing(url: str, *, livemode: bool) -> str:
    del livemode
    return url


@pytest.fixture
def operations(database: Database, sealer: Sealer) -> GroupOperations:
    built = Operations.build(database=database, sealer=sealer, judge_repair_url=judge_nothing)
    return built.groups


@pytest.fixture
async def story(database: Database, project: CreatedProject) -> Story:
    """A project whose instants are those of its store."""
    story = Story(database, project.project)
    async with database.reading() as session:
        story.at = await database.now(session)
    return story


async def failed(story: Story, count: int, code: str = "seat_limit") -> list[EventId]:
    events = await story.receipts(count, amount=250, currency="EUR")
    for event_id in events:
        await story.result(event_id, "failed", error_code=code)
    return events


async def group_of(story: Story, event_id: EventId) -> str:
    return str((await story.rows("incidents", event_id))[0]["group_id"])


async def audit(story: Story) -> list[tuple[str, str, str]]:
    """Action, subject and details of the entries, in order."""
    async with story.database.reading() as session:
        rows = await session.execute(
            text("SELECT action, subject_id, details FROM audit_log ORDER BY sequence")
        )
        return [(row.action, row.subject_id, row.details) for row in rows]


@pytest.mark.both_stores
async def test_resolving_a_group_resolves_all_its_incidents(
    story: Story, operations: GroupOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "ACTS_AT_ONCE", 3)
    events, others = await failed(story, 7), await failed(story, 1, "card")
    await story.do(request_repair, events[2], requested_by=OPERATOR)
    group_id = await group_of(story, events[0])

    act = await operations.resolve(story.project.id, group_id, "Refunded", actor=NADIA)

    assert (act.changed, act.complete, act.group.state) == (7, True, GroupState.RESOLVED)
    assert (act.group.counts.resolved, act.group.amounts) == (7, {"EUR": 1_750})
    for event_id in events:
        entry = (await story.rows("timeline", event_id))[-1]
        assert entry["fields"]["reason"] == "Refunded"
        assert [kind for kind, _ in await story.outbox(event_id)][-1] == "resolve"
    assert (await story.rows("incidents", others[0]))[0]["state"] == "open"
    assert {(action, subject) for action, subject, _ in await audit(story)} == {
        (AuditAction.GROUP_RESOLVED.value, group_id)
    }
    with pytest.raises(IncidentAlreadyResolved):
        await operations.resolve(story.project.id, group_id, "Refunded", actor=NADIA)


@pytest.mark.both_stores
async def test_acknowledging_goes_on_where_a_call_ended(
    story: Story, operations: GroupOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "ACTS_AT_ONCE", 2)
    monkeypatch.setattr(groups, "ACTS_AT_MOST", 2)
    events = await failed(story, 3)
    group_id = await group_of(story, events[0])

    first = await operations.acknowledge(None, group_id, actor=NADIA)
    again = await operations.acknowledge(None, group_id, actor=NADIA)

    assert (first.changed, first.complete) == (2, False)
    assert (again.changed, again.complete) == (1, True)
    assert [kind for one in events for kind in await story.timeline(one)].count(
        "incident_acknowledged"
    ) == 3
    assert [action for action, *_ in await audit(story)] == ["group_acknowledged"] * 2


async def test_call_that_ends_early_says_so(
    story: Story, operations: GroupOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = await failed(story, 3)
    monkeypatch.setattr(groups, "ACT_SECONDS", -1.0)

    act = await operations.resolve(None, await group_of(story, events[0]), "x", actor=NADIA)

    assert (act.changed, act.complete) == (0, False)


@pytest.mark.both_stores
async def test_muted_group_says_so_on_each_timeline(
    story: Story, operations: GroupOperations
) -> None:
    events = await failed(story, 3)
    group_id = await group_of(story, events[0])

    until = to_iso(story.at + timedelta(days=30))
    muted = await operations.mute(None, group_id, {"until": until}, actor=NADIA)
    unmuted = await operations.unmute(None, group_id, actor=NADIA)

    assert (muted.changed, unmuted.changed) == (3, 3)
    assert muted.group.muted_until is not None
    assert unmuted.group.muted_until is None
    for event_id in events:
        entries = (await story.rows("timeline", event_id))[-2:]
        assert [entry["kind"] for entry in entries] == ["group_muted", "group_unmuted"]
        assert entries[0]["fields"]["muted_until"] == until
    assert [action for action, *_ in await audit(story)] == ["group_muted", "group_unmuted"]


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(days=365, minutes=1)])
async def test_mute_needs_an_instant_in_the_next_year(
    story: Story, operations: GroupOperations, ahead: timedelta
) -> None:
    (event_id,) = await failed(story, 1)
    content = {"until": to_iso(story.at + ahead)}

    with pytest.raises(ValidationFailed):
        await operations.mute(None, await group_of(story, event_id), content, actor=NADIA)


@pytest.mark.parametrize("group_id", ["grp_none", "../", "x" * 300, "grp_\0"])
async def test_unknown_group_is_not_found(operations: GroupOperations, group_id: str) -> None:
    with pytest.raises(NotFound):
        await operations.read_group(None, group_id)


@pytest.mark.both_stores
async def test_groups_are_listed_by_their_last_incident_in_pages(
    story: Story, operations: GroupOperations
) -> None:
    story.at -= timedelta(minutes=80)
    quiet = await group_of(story, (await failed(story, 2, "quiet"))[0])
    story.later(minutes=70)
    (ended,) = await failed(story, 1, "ended")
    await story.result(ended)
    story.later(minutes=5)
    growing = await group_of(story, (await failed(story, 1, "open"))[0])
    resolved = await group_of(story, ended)

    listed: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        page = await operations.list_groups(GroupFilters(story.project.id), 1, cursor)
        listed += [group.id for group in page.rows]
        cursor = page.next_cursor

    assert (listed, cursor) == ([growing, resolved, quiet], None)
    for state, group_id in (("open", growing), ("quiet", quiet), ("resolved", resolved)):
        filters = GroupFilters(story.project.id, state=GroupState(state))
        (group,) = (await operations.list_groups(filters)).rows
        assert (group.id, group.state) == (group_id, state)


async def test_incidents_of_a_group_are_paged_unresolved_first(
    story: Story, operations: GroupOperations
) -> None:
    events = await failed(story, 5)
    await story.result(events[0])
    await story.do(request_repair, events[3], requested_by=OPERATOR)
    group_id = await group_of(story, events[0])

    listed: list[Any] = []
    cursor: str | None = None
    for _ in range(3):
        page = await operations.list_incidents(None, group_id, 2, cursor)
        listed += [row.incident.event_id for row in page.rows]
        cursor = page.next_cursor

    assert listed == [events[4], events[2], events[1], events[3], events[0]]
    assert cursor is None
