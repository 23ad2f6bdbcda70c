"""REST of bulk repairs, holds and rules of automatic repair, and their audit entries."""

import pytest

from domain.repairing.bulk import MOST_ITEMS
from tests.api.serving import Caller, Json, receipt

PLAN = {"first": 1, "then": 5, "per_minute": 60, "stop_at_failed_percent": 20}
RULE = {"name": "again", "delay_seconds": 60}


async def incidents(caller: Caller, count: int, **changes: object) -> list[str]:
    return [await caller.incident_of(await caller.accept(**changes)) for _ in range(count)]


async def asked(caller: Caller, method: str, path: str, status: int = 200, **body: object) -> Json:
    options = {"json": body} if body else {}
    answer = await caller.ask(method, path, **options)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


async def actions(caller: Caller, count: int) -> list[str]:
    """The newest entries of the audit log, oldest first."""
    page = await asked(caller, "GET", f"/audit?limit={count}")
    return [entry["action"] for entry in reversed(page["data"])]


async def pointers(caller: Caller, method: str, path: str, body: object) -> list[str]:
    """The places of a refused body."""
    answer = await caller.ask(method, path, json=body)
    assert answer.status_code == 422, answer.text
    return [error["pointer"] for error in answer.json()["errors"]]


async def test_dry_run_counts_and_starts_nothing(caller: Caller) -> None:
    ids = await incidents(caller, 2, amount=1_250, currency="EUR")
    await caller.ask("POST", f"/incidents/{ids[0]}/reprocess")
    await asked(caller, "POST", "/holds", 201, effect_type="access_unlock", reason="closed")

    found = await asked(
        caller, "POST", "/bulk-repairs", incident_ids=ids, reason="outage", dry_run=True
    )

    assert found == {
        "matched": 2,
        "repairable": 1,
        "superseded": 0,
        "held": 1,
        "without_repair_url": 0,
        "amounts": {"EUR": 1_250},
    }
    assert (await asked(caller, "GET", "/bulk-repairs"))["data"] == []


async def test_bulk_repair_is_started_read_paused_resumed_and_aborted(caller: Caller) -> None:
    ids = await incidents(caller, 3)
    body = {"incident_ids": ids, "reason": "outage", "plan": {"then": 2}}

    started = await asked(caller, "POST", "/bulk-repairs", 202, **body)
    path = f"/bulk-repairs/{started['bulk_id']}"
    read = await asked(caller, "GET", f"{path}?limit=2")
    rest = await asked(caller, "GET", f"{path}?limit=2&cursor={read['next_cursor']}")
    states = [
        (await asked(caller, "POST", f"{path}/{act}"))["state"]
        for act in ("pause", "pause", "resume", "abort", "resume")
    ]
    listed = await asked(caller, "GET", "/bulk-repairs")

    assert (read["state"], read["reason"], read["plan"]) == (
        "running",
        "outage",
        PLAN | {"then": 2},
    )
    assert read["counts"] == {
        "waiting": 3,
        **dict.fromkeys(("repairing", "succeeded", "failed", "skipped"), 0),
    }
    assert [item["incident_id"] for item in (*read["items"], *rest["items"])] == ids
    assert (read["has_more"], rest["has_more"], read["stopped_because"]) == (True, False, None)
    assert states == ["paused", "paused", "running", "aborted", "aborted"]
    assert [one["state"] for one in listed["data"]] == ["aborted"]
    assert await actions(caller, 4) == [
        *("bulk_repair_started", "bulk_repair_paused", "bulk_repair_resumed"),
        "bulk_repair_aborted",
    ]


async def test_search_selects_the_oldest_first(caller: Caller) -> None:
    first = await incidents(caller, 1, internal_reference="seat 7")
    second = await incidents(caller, 1, internal_reference="seat 77")
    await incidents(caller, 1)

    started = await asked(caller, "POST", "/bulk-repairs", 202, q="seat 7", reason="outage")
    read = await asked(caller, "GET", f"/bulk-repairs/{started['bulk_id']}")

    assert [item["incident_id"] for item in read["items"]] == first + second


@pytest.mark.parametrize(
    ("q", "matched"),
    [
        ('is:open ref:"seat 7"', 1),
        ("amount:>=10.00EUR", 1),
        ("is:open age:<1h", 3),
        ("is:resolved", 0),
        ("is:muted", 0),
    ],
)
async def test_search_takes_tokens(caller: Caller, q: str, matched: int) -> None:
    await incidents(caller, 1, internal_reference="seat 7")
    await incidents(caller, 1, amount=1_250, currency="EUR")
    await incidents(caller, 1)

    found = await asked(caller, "POST", "/bulk-repairs", q=q, reason="outage", dry_run=True)

    assert found["matched"] == matched


async def test_membership_of_ten_thousand_ids_is_read_and_one_more_is_refused(
    caller: Caller,
) -> None:
    (known,) = await incidents(caller, 1)
    unknown = [f"inc_{number:032x}" for number in range(MOST_ITEMS)]
    body = {"reason": "outage", "dry_run": True}

    many = await pointers(caller, "POST", "/bulk-repairs", body | {"incident_ids": unknown})
    repeated = await asked(
        caller, "POST", "/bulk-repairs", **body, incident_ids=[known] * MOST_ITEMS
    )
    too_many = [*unknown, known]

    assert many == ["/incident_ids/0"]
    assert repeated["matched"] == 1
    assert await pointers(caller, "POST", "/bulk-repairs", body | {"incident_ids": too_many}) == [
        "/incident_ids"
    ]


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({}, ["/reason"]),
        ({"reason": "x"}, [""]),
        ({"reason": "x", "q": "a", "incident_ids": ["inc_1"]}, [""]),
        ({"reason": "x", "q": "nothing that matches"}, [""]),
        ({"reason": "x", "q": "effet:x"}, ["/q"]),
        ({"reason": "x", "q": "assignee:me"}, ["/q"]),
        ({"reason": "x", "q": "a" * 1_001}, ["/q"]),
        ({"reason": "x", "incident_ids": []}, ["/incident_ids"]),
        ({"reason": "x", "incident_ids": "inc_1"}, ["/incident_ids"]),
        ({"reason": "x", "incident_ids": ["inc_1"]}, ["/incident_ids/0"]),
        ({"reason": "x", "q": "a", "plan": {"first": 0}}, ["/plan/first"]),
        ({"reason": "x", "q": "a", "plan": {"first": "1"}}, ["/plan/first"]),
        ({"reason": "x", "q": "a", "plan": {"per_minute": 601}}, ["/plan/per_minute"]),
        (
            {"reason": "x", "q": "a", "plan": {"stop_at_failed_percent": 101}},
            ["/plan/stop_at_failed_percent"],
        ),
        ({"reason": "x", "q": "a", "dry_run": "yes"}, ["/dry_run"]),
        ({"reason": "\x00", "q": "a"}, ["/reason"]),
    ],
)
async def test_body_of_a_bulk_repair_is_checked(
    caller: Caller, body: Json, refused: list[str]
) -> None:
    assert await pointers(caller, "POST", "/bulk-repairs", body) == refused


async def test_large_body_is_read_strictly(caller: Caller) -> None:
    ids = ",".join(f'"inc_{number:032x}"' for number in range(3_000))
    before = '{"reason": "x", "incident_ids": '
    bodies = (f"{before}[{ids}", f"{before}[{ids}, NaN]}}", f"{before}{{{ids}}}}}")

    answers = [
        await caller.ask(
            "POST",
            "/bulk-repairs",
            content=body.encode(),
            headers={"Content-Type": "application/json"},
        )
        for body in bodies
    ]
    too_large = await caller.ask("POST", "/bulk-repairs", json={"reason": "x" * 600_000})

    assert {answer.status_code for answer in answers} <= {413, 422}
    assert too_large.status_code == 413


async def test_group_is_repaired_without_its_resolved_incidents(caller: Caller) -> None:
    ids = await incidents(caller, 3)
    group_id = (await asked(caller, "GET", f"/incidents/{ids[0]}"))["group_id"]
    await asked(caller, "POST", f"/incidents/{ids[1]}/resolve", reason="paid in cash")

    started = await asked(caller, "POST", "/bulk-repairs", 202, group_id=group_id, reason="outage")

    found = await asked(caller, "GET", f"/bulk-repairs/{started['bulk_id']}")
    assert [item["incident_id"] for item in found["items"]] == [ids[0], ids[2]]


async def test_group_is_not_found_and_missing_url_is_refused(caller: Caller) -> None:
    ids = await incidents(caller, 1)
    await caller.ask("PATCH", "/project", json={"repair_url": None})

    group = await caller.ask("POST", "/bulk-repairs", json={"reason": "x", "group_id": "grp_1"})
    missing = await caller.ask("POST", "/bulk-repairs", json={"reason": "x", "incident_ids": ids})

    assert (group.status_code, group.json()["code"]) == (404, "not_found")
    assert (missing.status_code, missing.json()["code"]) == (409, "repair_url_missing")


async def test_repair_is_held_while_a_hold_matches(caller: Caller) -> None:
    event_id = await caller.accept(internal_reference="seat 7")
    incident_id = await caller.incident_of(event_id)
    hold = await asked(
        caller, "POST", "/holds", 201, internal_reference="seat 7", reason="refund in doubt"
    )

    await asked(caller, "POST", f"/incidents/{incident_id}/reprocess", 202)
    event = await asked(caller, "GET", f"/events/{event_id}")
    listed = await asked(caller, "GET", "/holds")
    removed = await asked(caller, "DELETE", f"/holds/{hold['id']}")

    assert (event["incident"]["state"], event["repairs"][0]["state"]) == ("repairing", "held")
    assert [(one["id"], one["held"]) for one in listed["data"]] == [(hold["id"], 1)]
    assert (hold["all"], hold["until"], removed["id"]) == (False, None, hold["id"])
    assert (await asked(caller, "GET", "/holds"))["data"] == []
    assert await actions(caller, 3) == ["hold_added", "reprocess_requested", "hold_removed"]


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"reason": "x"}, [""]),
        ({"reason": "x", "all": False}, [""]),
        ({"reason": "x", "all": True, "effect_type": "seat_update"}, [""]),
        ({"all": True}, ["/reason"]),
        ({"reason": "x", "effect_type": "unknown"}, ["/effect_type"]),
        ({"reason": "x", "internal_reference": ""}, ["/internal_reference"]),
        ({"reason": "x", "all": True, "until": "2020-01-01T00:00:00Z"}, ["/until"]),
        ({"reason": "x", "all": True, "until": "tomorrow"}, ["/until"]),
        ({"reason": "x", "all": 1}, ["/all"]),
    ],
)
async def test_body_of_a_hold_is_checked(caller: Caller, body: Json, refused: list[str]) -> None:
    assert await pointers(caller, "POST", "/holds", body) == refused


async def test_rules_are_replaced_in_order_and_armed(caller: Caller) -> None:
    rules = [RULE | {"error_code": "db_*"}, RULE | {"name": "others", "max_per_hour": 5}]

    put = await asked(caller, "PUT", "/project/repair-rules", rules=rules)
    read = await asked(caller, "GET", "/project/repair-rules")
    again = await asked(caller, "PUT", "/project/repair-rules", **read)
    armed = await asked(caller, "POST", "/project/repair-rules/others/arm")
    unknown = await caller.ask("POST", "/project/repair-rules/nobody/arm")

    assert put == read == again
    assert [rule["name"] for rule in read["rules"]] == ["again", "others"]
    assert read["rules"][0] == {
        "name": "again",
        "effect_type": None,
        "event_type": None,
        "reason": None,
        "error_code": "db_*",
        "delay_seconds": 60,
        "max_repairs_per_incident": 1,
        "max_per_hour": 100,
        "disarm_after_failures": 5,
        "failures": 0,
        "disarmed_at": None,
    }
    assert (armed["name"], unknown.status_code) == ("others", 404)
    assert await actions(caller, 3) == [
        *("repair_rules_changed", "repair_rules_changed", "repair_rule_armed")
    ]


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        ("none", ["/rules"]),
        ([{"name": "a"}], ["/rules/0/delay_seconds"]),
        ([RULE, RULE], ["/rules/1/name"]),
        ([RULE | {"name": "a b"}], ["/rules/0/name"]),
        ([RULE | {"name": "a" * 59}], ["/rules/0/name"]),
        ([RULE | {"reason": "unknown"}], ["/rules/0/reason"]),
        ([RULE | {"effect_type": "unknown"}], ["/rules/0/effect_type"]),
        ([RULE | {"event_type": "Unknown"}], ["/rules/0/event_type"]),
        ([RULE | {"max_repairs_per_incident": 6}], ["/rules/0/max_repairs_per_incident"]),
        ([RULE | {"delay_seconds": -1}], ["/rules/0/delay_seconds"]),
        ([RULE | {"delay_seconds": 1.5}], ["/rules/0/delay_seconds"]),
        ([RULE | {"name": f"r{number}"} for number in range(51)], ["/rules"]),
    ],
)
async def test_rules_are_checked(caller: Caller, rules: object, refused: list[str]) -> None:
    assert await pointers(caller, "PUT", "/project/repair-rules", {"rules": rules}) == refused


async def test_success_ends_a_held_repair(caller: Caller) -> None:
    await asked(caller, "POST", "/holds", 201, all=True, reason="closed")
    sent = receipt()
    event_id = (await caller.send("receipt", sent)).json()["event_id"]
    incident_id = await caller.incident_of(event_id)
    await asked(caller, "POST", f"/incidents/{incident_id}/reprocess", 202)

    await caller.send("result", {"event_id": event_id, "status": "success"})
    event = await asked(caller, "GET", f"/events/{event_id}")

    assert (event["state"], event["repairs"][0]["cause"]) == ("recovered", "superseded")
