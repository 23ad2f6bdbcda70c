"""`incident` and `receipt` on a real store, on SQLite and PostgreSQL: what they show, what they do,
what they refuse.
"""

import pytest

from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.projects import create_project
from tests.cli.makegood import Makegood
from tests.support.given import Story

# What does not depend on the database runs on SQLite only: each command is a process that must
# import everything.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def story(database: Database, project: CreatedProject) -> Story:
    return Story(database, project.project)


async def test_reprocess_creates_one_repair_and_returns_it_again(
    makegood: Makegood, story: Story
) -> None:
    event_id, incident_id = await story.opened()

    first = makegood("incident", "reprocess", incident_id, "--json").json
    second = makegood("incident", "reprocess", incident_id, "--json").json

    assert first == second == {"replay_id": first["replay_id"], "incident_id": incident_id}
    repairs = makegood("receipt", "show", event_id, "--json").json["repairs"]
    assert [(repair["replay_id"], repair["requested_by"]) for repair in repairs] == [
        (first["replay_id"], "cli")
    ]
    assert [kind for kind, _ in await story.outbox(event_id)].count("reprocess") == 1


async def test_acknowledge_then_resolve_manually(makegood: Makegood, story: Story) -> None:
    event_id, incident_id = await story.opened()

    acknowledged = makegood("incident", "acknowledge", incident_id, "--json").json
    resolved = makegood("incident", "resolve", incident_id, "--reason", "refunded", "--json").json
    again = makegood("incident", "resolve", incident_id, "--reason", "refunded")

    assert acknowledged["acknowledged_at"] is not None
    assert (resolved["state"], resolved["resolution"]) == ("resolved", "manual")
    assert again.code == 1
    assert makegood("receipt", "show", event_id, "--json").json["state"] == "closed"


@on_sqlite
async def test_reprocess_without_repair_url_is_refused(makegood: Makegood, story: Story) -> None:
    _, incident_id = await story.opened()
    makegood("project", "set", "shop", "--no-repair-url")

    done = makegood("incident", "reprocess", incident_id)

    assert done.code == 1
    assert "repair URL" in done.err


async def test_expire_ends_the_waiting_of_a_test_receipt(makegood: Makegood, story: Story) -> None:
    event_id = await story.receipt()

    done = makegood("receipt", "expire", event_id, "--json")

    assert done.json["event_id"] == event_id
    assert "expire" in [kind for kind, _ in await story.outbox(event_id)]


@on_sqlite
async def test_expire_in_a_live_project_is_not_allowed(
    makegood: Makegood, database: Database, sealer: Sealer
) -> None:
    async with database.transaction() as session:
        now = await database.now(session)
        live = await create_project(session, sealer, name="live", livemode=True, now=now)
    event_id = await Story(database, live.project).receipt(livemode=True)

    assert makegood("receipt", "expire", event_id).code == 4


@on_sqlite
async def test_expire_of_a_receipt_that_ended_fails(makegood: Makegood, story: Story) -> None:
    event_id, _ = await story.reach(LifecycleState.APPLIED)

    assert makegood("receipt", "expire", event_id).code == 1


@on_sqlite
async def test_lists_can_be_filtered_and_paged(makegood: Makegood, story: Story) -> None:
    waiting, (open_event, incident_id) = (
        await story.receipt(internal_reference="order A"),
        await story.opened(),
    )

    def ids(*arguments: str) -> list[str]:
        return [
            row["event_id"]
            for row in makegood("receipt", "list", *arguments, "--json").json["data"]
        ]

    assert ids("--state", "waiting") == [waiting]
    assert set(ids("--state", "waiting", "--state", "incident", "--project", "shop")) == {
        waiting,
        open_event,
    }
    assert ids("--reference", "order A", "--provider", "stripe") == [waiting]
    page = makegood("receipt", "list", "--limit", "1", "--json").json
    assert ids("--limit", "1", "--cursor", page["next_cursor"]) != [page["data"][0]["event_id"]]
    incidents = makegood("incident", "list", "--state", "open", "--json").json
    assert [row["id"] for row in incidents["data"]] == [incident_id]
    assert makegood("incident", "list", "--state", "resolved", "--json").json["data"] == []


@on_sqlite
@pytest.mark.parametrize(
    "arguments",
    [("incident", "show", "inc_no"), ("incident", "reprocess", "inc_no"), ("receipt", "show", "x")],
    ids=" ".join,
)
def test_unknown_id_is_exit_code_3(makegood: Makegood, arguments: tuple[str, ...]) -> None:
    assert makegood(*arguments).code == 3


@on_sqlite
async def test_receipt_prints_its_timeline_without_control_characters(
    makegood: Makegood, story: Story
) -> None:
    event_id = await story.receipt(internal_reference="order \x1b[2J\x07 1")
    await story.result(
        event_id, "failed", error_code="E\x1b]0;x", error_message="the ledger\nwas locked"
    )

    done = makegood("receipt", "show", event_id)

    assert done.code == 0
    assert "incident_opened" in done.out
    assert "\x1b" not in done.out
    assert "\x07" not in done.out
    assert "the ledger was locked" in done.out


@on_sqlite
async def test_incidents_show_reference_project_and_error(makegood: Makegood, story: Story) -> None:
    event_id = await story.receipt(internal_reference="order_77001")
    message = "No seat is left.\nBuy more." + " Really." * 40
    await story.result(event_id, "failed", error_code="seat_limit", error_message=message)
    incident_id = await story.incident_id(event_id)

    listed = makegood("incident", "list").out
    shown = makegood("incident", "show", incident_id).out

    heading, row = listed.rstrip("\n").split("\n")
    assert [column in heading for column in ("INTERNAL REFERENCE", "PROJECT", "ERROR")] == [
        True
    ] * 3
    assert ("order_77001" in row, story.project.name in row) == (True, True)
    assert "seat_limit: No seat is left. Buy more. Really." in row
    assert "Really. Really. Really. Really. Really. Really. Really" not in row
    fields = dict(line.split(None, 1) for line in shown.rstrip("\n").split("\n"))
    assert fields["internal_reference"] == "order_77001"
    assert fields["project"] == story.project.name
    assert fields["error_code"] == "seat_limit"
    assert fields["error_message"].endswith("Really.")
    assert fields["event_id"] == event_id


@on_sqlite
async def test_json_of_incidents_keeps_the_shape_of_rest(makegood: Makegood, story: Story) -> None:
    _, incident_id = await story.opened()

    listed = makegood("incident", "list", "--json").json["data"]
    shown = makegood("incident", "show", incident_id, "--json").json

    assert listed == [shown]
    assert {"internal_reference", "project"}.isdisjoint(shown)


@on_sqlite
async def test_receipt_shows_its_repairs_with_their_attempts(
    makegood: Makegood, story: Story
) -> None:
    event_id, failed = await story.reach(LifecycleState.OPEN)
    active = makegood("incident", "reprocess", await story.incident_id(event_id), "--json").json[
        "replay_id"
    ]

    shown = makegood("receipt", "show", event_id).out
    without = makegood("receipt", "show", await story.receipt()).out

    repairs = shown.split("REPAIRS\n")[1].split("\n\nTIMELINE")[0].split("\n")
    assert [failed in repairs[0], "attempt 1" in repairs[1], active in repairs[2]] == [True] * 3
    assert "  Failed " in repairs[0]
    assert "cause=The repair endpoint rejected the call requested_by=" in repairs[0]
    assert "status=400 duration_ms=12" in repairs[1]
    assert "  Calling " in repairs[2]
    assert len(repairs) == 3
    assert "REPAIRS" not in without
