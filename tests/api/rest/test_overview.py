"""REST and the command line of the overview, and of the settings of silence."""

import pytest

from domain.projects import CreatedProject
from store.db.database import Database
from tests.api.serving import Caller, receipt
from tests.support.given import Story

COUNTS = ("accepted", "applied", "late", "repaired", "closed", "opened")


async def test_overview_has_what_happened_today(caller: Caller) -> None:
    sent = await caller.send("receipt", receipt() | {"amount": 1_999, "currency": "EUR"})
    await caller.send("receipt", receipt(provider_event_id="evt_2"))
    await caller.send("result", {"event_id": sent.json()["event_id"], "status": "success"})

    answer = await caller.ask("GET", "/overview")

    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert {name: found["today"][name] for name in COUNTS} == {
        **dict.fromkeys(COUNTS, 0),
        "accepted": 2,
        "applied": 1,
    }
    assert found["today"] == found["last_30_days"]
    assert len(found["days"]) == 30
    assert {name: found["days"][-1][name] for name in COUNTS} == found["today"]
    (amounts,) = found["amounts"]
    assert (amounts["currency"], amounts["accepted"], amounts["applied"]) == ("EUR", 1_999, 1_999)
    assert (found["open"], found["oldest_open_at"], found["counted_until"]) == (0, None, None)
    assert (found["receipts_in_24_hours"], found["proposed_timeout_minutes"]) == (2, None)
    assert found["silences"] == [
        {"event_type": None, "minutes": None, "is_learned": True, "silent_since": None}
    ]


async def test_settings_of_silence_are_kept(caller: Caller) -> None:
    settings = {
        "silent_after_minutes": 90,
        "silent_event_types": {"invoice.paid": 60, "charge.refunded": None},
    }

    changed = await caller.ask("PATCH", "/project", json=settings)
    learned = await caller.ask("PATCH", "/project", json={"silent_after_minutes": None})

    assert {name: changed.json()[name] for name in settings} == settings
    assert learned.json()["silent_after_minutes"] is None
    assert learned.json()["silent_event_types"] == settings["silent_event_types"]


@pytest.mark.parametrize(
    ("settings", "pointer"),
    [
        ({"silent_after_minutes": -1}, "/silent_after_minutes"),
        ({"silent_after_minutes": 43_201}, "/silent_after_minutes"),
        ({"silent_after_minutes": "90"}, "/silent_after_minutes"),
        ({"silent_event_types": {"invoice.paid": 1.5}}, "/silent_event_types/invoice.paid"),
        ({"silent_event_types": {"no name": 5}}, "/silent_event_types/no name"),
        ({"silent_event_types": {f"type_{n}": 5 for n in range(51)}}, "/silent_event_types"),
        ({"silent_event_types": ["invoice.paid"]}, "/silent_event_types"),
    ],
)
async def test_bad_settings_of_silence_are_refused(
    caller: Caller, settings: dict[str, object], pointer: str
) -> None:
    answer = await caller.ask("PATCH", "/project", json=settings)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)


async def test_deadline_is_proposed_from_the_slowest_hundredth(
    caller: Caller, database: Database, project: CreatedProject
) -> None:
    story = Story(database, project.project)
    async with database.reading() as session:
        story.at = await database.now(session)
    story.later(minutes=-10)
    waiting = await story.receipts(100)
    story.later(seconds=100)
    for event_id in waiting:
        await story.result(event_id)

    found = (await caller.ask("GET", "/overview")).json()

    assert found["proposed_timeout_minutes"] == 5  # twice 100 s, rounded up
    assert [one["effect_type"] for one in found["effects"]] == ["access_unlock"]
    assert (found["effects"][0]["samples"], found["effects"][0]["proposed_minutes"]) == (100, 5)
