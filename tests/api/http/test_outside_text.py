"""REST can respond whatever is stored: a lone surrogate in a JSON column causes no 500."""

from domain.ids import EventId
from domain.incidents import TimelineKind
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.timeline import add_timeline
from tests.api.serving import Caller


async def test_event_with_a_lone_surrogate_in_its_timeline_can_be_read(
    caller: Caller, database: Database
) -> None:
    event_id = EventId(await caller.accept())
    async with database.transaction() as session:
        now = await database.now(session)
        await add_timeline(
            SessionStatements(session),
            event_id,
            TimelineKind.NOTED,
            now,
            text="half \ud83d",
            number=7,
        )

    answer = await caller.ask("GET", f"/events/{event_id}")

    assert answer.status_code == 200
    (noted,) = [entry for entry in answer.json()["timeline"] if entry["kind"] == "noted"]
    assert (noted["text"], noted["number"]) == ("half \ufffd", 7)
