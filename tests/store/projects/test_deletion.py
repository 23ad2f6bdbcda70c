"""A deleted project:

nothing of it works or opens any more, its receipts are ended and erased, and no other project
notices.
"""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, event, text

from domain.errors import NotFound, ValidationFailed
from domain.ids import EventId, UserId
from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject
from domain.users import Role
from store.crypto.encryption import SealBroken, Sealer
from store.crypto.tokens import new_event_id
from store.db.database import Database
from store.people import invitations, members, sessions, users
from store.projects import data_keys, projects, signing_secrets
from store.projects import deletion as deleting
from store.projects.api_keys import create_key, find_key
from store.receipts.queries import ListFilters, list_events, list_incidents
from store.schema import tables
from store.schema.tables import INVITATIONS
from tests.support.given import START, Story

LATER = START + timedelta(days=1)


async def rows_left(story: Story, project_id: str, event_ids: list[EventId]) -> dict[str, int]:
    """How many rows of the project each table has."""
    left = {}
    async with story.database.reading() as session:
        for name, table in tables.Project.metadata.tables.items():
            if "event_id" in table.c:
                wanted = table.c.event_id.in_(event_ids)
            elif "project_id" in table.c:
                wanted = table.c.project_id == project_id
            else:
                continue
            left[name] = len((await session.execute(table.select().where(wanted))).all())
    return left


async def delete(story: Story, *, end_open: bool = True) -> int:
    async with story.database.transaction() as session:
        return await deleting.delete_project(
            session, story.project.id, end_open=end_open, now=LATER
        )


class Erased(NamedTuple):
    """What the worker's loop did in one pass."""

    ended: int
    receipts: int
    answers: int

    @property
    def total(self) -> int:
        return sum(self)


async def erase(story: Story, **after: float) -> Erased:
    at = LATER + timedelta(**after)
    async with story.database.transaction() as session:
        unended = await deleting.open_of_deleted(session, after=None, limit=200)
        for event_id in unended:
            await deleting.end_deleted(session, event_id, at)
        erased = await deleting.erase_deleted(session, at)
    return Erased(len(unended), erased.receipts, erased.answers)


async def tell_engine_everything(story: Story) -> set[tuple[str, str]]:
    """What the outbox had to tell, of which receipt."""
    async with story.database.transaction() as session:
        gone = await session.execute(text("DELETE FROM outbox RETURNING event_id, kind"))
        return {(row.event_id, row.kind) for row in gone}


async def test_a_deleted_project_is_found_by_nobody_and_opens_nothing(
    story: Story, sealer: Sealer, project: CreatedProject
) -> None:
    place: dict[str, Any] = {
        "project_id": story.project.id,
        "table": "receipts",
        "column": "payload",
        "row": "evt_1",
    }
    async with story.database.reading() as session:
        data_key = await data_keys.read_data_key(session, story.project.id)
        sealed = sealer.seal(data_key, **place, plaintext=b"a payload")

    assert await delete(story) == 0

    async with story.database.transaction() as session:
        assert await find_key(session, sealer.key_digest(project.api_key)) is None
        assert await projects.list_projects(session) == []
        left = bytes(await session.scalar(text("SELECT data_key FROM projects")) or b"")
        for refused in (
            projects.read_project(session, story.project.id),
            projects.find_project(session, "shop"),
            signing_secrets.signing_secrets(session, sealer, story.project.id, LATER),
            signing_secrets.rotate_signing_secret(
                session, sealer, project_id=story.project.id, now=LATER
            ),
            projects.set_suspended(session, story.project.id, suspended=False, now=LATER),
            create_key(
                session,
                sealer,
                project_id=story.project.id,
                label="x",
                scopes=project.key.scopes,
                now=LATER,
            ),
            deleting.delete_project(session, story.project.id, end_open=True, now=LATER),
        ):
            with pytest.raises(NotFound):
                await refused
        await projects.create_project(session, sealer, name="shop", livemode=False, now=LATER)
    assert left == b""
    with pytest.raises(SealBroken):
        sealer.open(left, **place, sealed=sealed)


async def test_receipts_that_have_not_ended_keep_a_project(story: Story) -> None:
    await story.reach(LifecycleState.WAITING)
    await story.reach(LifecycleState.CALLING)
    await story.reach(LifecycleState.APPLIED)

    with pytest.raises(ValidationFailed) as refused:
        await delete(story, end_open=False)

    assert refused.value.errors[0].message.startswith("2 receipts have not ended")
    async with story.database.reading() as session:
        assert await projects.read_project(session, story.project.id) == story.project


async def test_deletion_counts_to_a_bound_and_leaves_alerts_to_the_loop(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleting, "COUNTED", 3)
    for _ in range(2):
        await story.receipt()
    for _ in range(3):
        await story.opened()
    with pytest.raises(ValidationFailed) as refused:
        await delete(story, end_open=False)
    sent: list[str] = []

    def keep(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", keep)
    try:
        counted = await delete(story)
    finally:
        event.remove(Engine, "before_cursor_execute", keep)

    assert refused.value.errors[0].message.startswith("3 or more receipts have not ended")
    assert counted == 3
    assert [
        statement for statement in sent if "alerts" in statement and statement.startswith("DELETE")
    ] == []


async def test_alerts_of_a_deleted_project_are_erased_in_batches_and_no_others(
    story: Story, sealer: Sealer
) -> None:
    async with story.database.transaction() as session:
        wanted: dict[str, Any] = {"repair_url": None, "alert_emails": ("ops@other.example",)}
        other = await projects.create_project(
            session, sealer, name="other", livemode=False, now=START, **wanted
        )
    neighbour = Story(story.database, other.project)
    theirs, _ = await neighbour.opened()
    ours = [(await story.opened())[0] for _ in range(3)]
    assert [len(await story.alerts(event_id)) for event_id in ours] == [1, 1, 1]
    await delete(story)

    batches = []
    for _ in range(3):
        async with story.database.transaction() as session:
            batches.append((await deleting.erase_deleted(session, LATER, limit=2)).alerts)

    assert batches == [2, 1, 0]
    assert [len(await story.alerts(event_id)) for event_id in (*ours, theirs)] == [0, 0, 0, 1]


async def test_project_of_which_nothing_is_left_is_looked_at_no_more_until_something_comes_late(
    story: Story,
) -> None:
    await story.receipt()
    await delete(story)
    await tell_engine_everything(story)

    async def is_looked_at(*, after_hours: float) -> bool:
        async with story.database.transaction() as session:
            await deleting.mark_erased(session, LATER + timedelta(hours=after_hours))
            return await deleting.has_deleted(session)

    with_rows = await is_looked_at(after_hours=2)
    await erase(story)
    await tell_engine_everything(story)
    while (await erase(story, minutes=2)).total:
        pass
    looked_at = [with_rows, await is_looked_at(after_hours=0.9), await is_looked_at(after_hours=1)]
    late = await story.receipt()
    async with story.database.transaction() as session:
        unmarked = await deleting.unmark_erased(session)
        unended = await deleting.open_of_deleted(session, after=None, limit=10)

    assert looked_at == [True, True, False]
    assert (unmarked, unended) == (1, [late])


async def test_its_receipts_end_are_told_and_then_erased_and_no_others(
    story: Story, sealer: Sealer
) -> None:
    async with story.database.transaction() as session:
        wanted: dict[str, Any] = {
            "repair_url": "https://other.example/repair",
            "alert_emails": ("ops@other.example",),
        }
        other = await projects.create_project(
            session, sealer, name="other", livemode=False, now=START, **wanted
        )
    neighbour = Story(story.database, other.project)
    theirs = [(await neighbour.reach(position))[0] for position in LifecycleState]
    ours = {position: (await story.reach(position))[0] for position in LifecycleState}
    await tell_engine_everything(story)
    before = await rows_left(story, other.project.id, theirs)
    open_ones = [
        ours[at]
        for at in (
            LifecycleState.WAITING,
            LifecycleState.OPEN,
            LifecycleState.CALLING,
            LifecycleState.AWAITING_RESULT,
        )
    ]

    ended = await delete(story)
    first = await erase(story)
    states = [(await story.standing(event_id)).position for event_id in open_ones]
    alerts = [
        row
        for event_id in ours.values()
        for row in await story.rows("alerts", event_id)
        if row["sent_at"] is None
    ]
    told = await tell_engine_everything(story)
    too_soon = await erase(story, seconds=59)
    last = await erase(story, seconds=60)

    assert (ended, first.ended) == (4, 4)
    assert states == [LifecycleState.CLOSED] * 4
    assert alerts == []
    assert {event_id for event_id, kind in told if kind == "resolve"} == set(open_ones)
    assert first.receipts + too_soon.receipts == 3, "those that had ended before"
    assert (last.receipts, (await erase(story, hours=1)).total) == (4, 0)
    assert set((await rows_left(story, story.project.id, list(ours.values()))).values()) == {0}
    assert await rows_left(story, other.project.id, theirs) == before


async def test_what_the_engine_was_not_told_yet_is_not_erased(story: Story) -> None:
    event_id, _ = await story.reach(LifecycleState.OPEN)
    await delete(story)
    await erase(story)

    assert (await erase(story, hours=1)).receipts == 0
    assert {row for row in await tell_engine_everything(story) if row[1] == "resolve"} == {
        (event_id, "resolve")
    }
    assert (await erase(story, hours=1)).receipts == 1


async def test_receipt_that_another_process_took_meanwhile_is_ended_and_erased_too(
    story: Story,
) -> None:
    await delete(story)
    story.at = LATER
    late, _ = await story.reach(LifecycleState.WAITING)
    async with story.database.reading() as session:
        listed = await list_events(session, ListFilters(), limit=20, cursor=None)
        incidents = await list_incidents(session, ListFilters(), limit=20, cursor=None)

    ended = await erase(story)
    await tell_engine_everything(story)

    assert (listed.rows, incidents.rows) == ((), ())
    assert ended.ended == 1
    assert (await erase(story, minutes=1)).receipts == 1
    assert set((await rows_left(story, story.project.id, [late, new_event_id()])).values()) == {0}


async def test_its_people_belong_to_it_no_longer_and_nobody_is_signed_out(
    story: Story, sealer: Sealer
) -> None:
    database, project_id = story.database, story.project.id
    async with database.transaction() as session:
        other = (
            await projects.create_project(session, sealer, name="other", livemode=False, now=START)
        ).project
        ada, bob = [
            (await users.create_user(session, email=f"{name}@shop.example", now=START)).user_id
            for name in ("ada", "bob")
        ]
        for user_id, of, role in (
            (ada, project_id, Role.OWNER),
            (ada, other.id, Role.VIEWER),
            (bob, project_id, Role.OPERATOR),
        ):
            await members.grant(session, project_id=of, user_id=user_id, role=role, now=START)
        asked = {"email": "eve@shop.example", "role": Role.VIEWER, "invited_by": ada, "now": LATER}
        ours, theirs = [
            (await invitations.invite(session, project_id=of, **asked))[0]
            for of in (project_id, other.id)
        ]
        signed_in = [
            await sessions.open_session(session, user_id=user_id, now=LATER)
            for user_id in (ada, bob)
        ]

    await delete(story)

    async with database.reading() as session:
        roles = [
            dict((await members.read_access(session, user_id)).roles) for user_id in (ada, bob)
        ]
        found = [
            await sessions.read_session(session, token=token, now=LATER) for token in signed_in
        ]
        links = [
            await invitations.find_invitation(session, token=token, now=LATER)
            for token in (ours, theirs)
        ]
    left = await rows_left(story, project_id, [])
    assert roles == [{other.id: Role.VIEWER}, {}]
    assert [one is not None and one[0].user_id for one in found] == [ada, bob]
    assert [one is not None and one.project_id for one in links] == [False, other.id]
    assert (left["members"], left["invitations"]) == (0, 0)


async def test_nobody_comes_into_a_deleted_project(story: Story) -> None:
    project_id = story.project.id
    async with story.database.transaction() as session:
        ada = (await users.create_user(session, email="ada@shop.example", now=START)).user_id
        asked = {"project_id": project_id, "role": Role.OWNER, "now": LATER}
        token, _ = await invitations.invite(
            session, email="eve@shop.example", invited_by=ada, **asked
        )
        invited = (await session.execute(INVITATIONS.select())).mappings().one()
    await delete(story)

    async with story.database.transaction() as session:
        # As if it had been written while the project was deleted.
        await session.execute(INVITATIONS.insert().values(dict(invited)))
        for refused in (
            members.grant(session, user_id=ada, **asked),
            members.revoke(session, project_id=project_id, user_id=ada),
            invitations.invite(session, email="bob@shop.example", invited_by=ada, **asked),
        ):
            with pytest.raises(NotFound):
                await refused
        assert await invitations.use_invitation(session, token=token, now=LATER) is None


async def test_who_comes_while_a_project_is_deleted_comes_before_or_not_at_all(
    story: Story,
) -> None:
    project_id = story.project.id
    async with story.database.transaction() as session:
        names = ("ada", "bob", "eve")
        people = [
            (await users.create_user(session, email=f"{name}@shop.example", now=START)).user_id
            for name in names
        ]

    async def come(user_id: UserId) -> None:
        async with story.database.transaction() as session:
            asked = {"project_id": project_id, "role": Role.OWNER, "now": LATER}
            await members.grant(session, user_id=user_id, **asked)
            await invitations.invite(
                session, email=f"{user_id}@shop.example", invited_by=user_id, **asked
            )

    came = await asyncio.gather(
        come(people[0]), delete(story), *map(come, people[1:]), return_exceptions=True
    )

    left = await rows_left(story, project_id, [])
    assert came[1] == 0
    assert {type(one) for one in came if isinstance(one, BaseException)} <= {NotFound}
    assert (left["members"], left["invitations"]) == (0, 0)


async def test_its_data_key_is_gone_from_the_file(sqlite_url: str, sealer: Sealer) -> None:
    database, path = Database.open(sqlite_url), Path(sqlite_url.removeprefix("sqlite:///"))
    async with database.transaction() as session:
        project = (
            await projects.create_project(session, sealer, name="shop", livemode=False, now=START)
        ).project
        data_key = await data_keys.read_data_key(session, project.id)

    async with database.transaction() as session:
        await deleting.delete_project(session, project.id, end_open=False, now=LATER)
    # checkpoints: what the write-ahead log had is in the file, and it is gone
    await database.close()

    assert not path.with_name(f"{path.name}-wal").exists()
    assert data_key not in path.read_bytes()
