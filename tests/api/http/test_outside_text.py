"""An answer of REST can be written whatever is stored: a half of a surrogate pair in a JSON column makes no 500."""

from domain.ids import EventId
from domain.incidents import TimelineKind
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.timeline import add_timeline
from tests.api.serving import Caller


async def test_event_whose_timeline_holds_half_a_pair_is_answered(caller: Caller, database: Database) -> None:
    event_id = EventId(await caller.accept())
    async with database.transaction() as session:
        now = await database.now(session)
        await add_timeline(SessionStatements(session), event_id, TimelineKind.NOTED, now, text="half \ud83d", number=7)

    answer = await caller.ask("GET", f"/events/{event_id}")

    assert answer.status_code == 200
    (noted,) = [entry for entry in answer.json()["timeline"] if entry["kind"] == "noted"]
    assert (noted["text"], noted["number"]) == ("half \ufffd", 7)
