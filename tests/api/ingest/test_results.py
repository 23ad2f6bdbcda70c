"""The receipt of a result, the validation of results, and the state in the response."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.projects import CreatedProject
from tests.api.serving import Caller, Json, receipt


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"status": "success"}, "/event_id"),
        ({"event_id": "evt_1"}, "/status"),
        ({"event_id": "evt_1", "status": "done"}, "/status"),
        ({"event_id": None, "status": "success"}, "/event_id"),
        (
            {"stripe_event_id": "a", "provider_event_id": "b", "status": "success"},
            "/stripe_event_id",
        ),
        ({"stripe_event_id": "a", "provider": "shopify", "status": "success"}, "/provider"),
        ({"event_id": "evt_1", "status": "success", "effect_type": "x"}, "/effect_type"),
        ({"provider_event_id": "", "status": "success"}, "/provider_event_id"),
    ],
    ids=str,
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_wrong_field_is_named(caller: Caller, body: Json, pointer: str) -> None:
    answer = await caller.send("result", body)

    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    "event_id",
    [
        "",
        "x",
        "evt_",
        "evt_" + "0" * 32,
        "a\0b",
        "x" * 5_000,
        "ümläut",
        "inc_1",
        5,
        0.5,
        True,
        [],
        {"id": "evt_1"},
    ],
    ids=repr,
)
async def test_unknown_event_of_any_shape_is_not_found(caller: Caller, event_id: object) -> None:
    assert (await caller.send("result", {"event_id": event_id, "status": "success"})).json()[
        "code"
    ] == "not_found"


@pytest.mark.parametrize(
    "named",
    [
        {"provider_event_id": "evt_late"},
        {"stripe_event_id": "evt_late"},
        {"provider": "shopify", "provider_event_id": "evt_late"},
        {"provider_event_id": "evt_known", "effect_type": "seat_update"},
    ],
    ids=str,
)
async def test_result_that_may_have_overtaken_its_receipt_is_retryable(
    caller: Caller, named: dict[str, str]
) -> None:
    await caller.accept(provider_event_id="evt_known", effect_type="credit_grant")

    answer = await caller.send("result", named | {"status": "success"})

    assert (answer.status_code, answer.headers["Retry-After"]) == (404, "1")
    assert (answer.json()["code"], answer.json()["retryable"]) == ("not_found", True)


@pytest.mark.parametrize(
    "named",
    [
        {"event_id": "evt_" + "0" * 32},
        {"event_id": "evt_" + "0" * 32, "provider_event_id": "evt_known"},
        {"provider_event_id": "evt_known", "replay_id": "rpl_" + "0" * 32},
        {"provider_event_id": "evt_late", "replay_id": "rpl_" + "0" * 32},
    ],
    ids=str,
)
async def test_result_that_names_an_unknown_id_of_ours_is_not_retryable(
    caller: Caller, named: dict[str, str]
) -> None:
    await caller.accept(provider_event_id="evt_known")

    answer = await caller.send("result", named | {"status": "success"})

    assert answer.status_code == 404
    assert "Retry-After" not in answer.headers
    assert (answer.json()["code"], answer.json()["retryable"]) == ("not_found", False)


@pytest.mark.parametrize(
    "replay_id", ["", "x", "rpl_" + "0" * 32, "a\0b", "x" * 5_000, 5, False, ["rpl_1"]], ids=repr
)
async def test_unknown_repair_of_any_shape_is_not_found(caller: Caller, replay_id: object) -> None:
    event_id = await caller.accept()

    answer = await caller.send(
        "result", {"event_id": event_id, "status": "success", "replay_id": replay_id}
    )

    assert answer.json()["code"] == "not_found"


async def test_success_while_waiting_is_applied(caller: Caller) -> None:
    event_id = await caller.accept()

    answer = await caller.send("result", {"event_id": event_id, "status": "success"})

    assert answer.json() == {"accepted": True, "event_id": event_id, "state": "applied"}


async def test_failed_while_waiting_opens_an_incident_with_its_error(caller: Caller) -> None:
    event_id = await caller.accept()
    failed = {
        "event_id": event_id,
        "status": "failed",
        "error_code": "seat_limit",
        "error_message": "a\0" + "b" * 3_000,
    }

    answer = await caller.send("result", failed)
    incident = (await caller.ask("GET", f"/events/{event_id}")).json()["incident"]

    assert answer.json()["state"] == "incident"
    assert (incident["state"], incident["reason"], incident["error_code"]) == (
        "open",
        "failed_result",
        "seat_limit",
    )
    assert incident["error_message"] == "a\ufffd" + "b" * 2_046


BOX = "\ufffd"


@pytest.mark.spread
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (rb'"half \ud83c of a pair"', f"half {BOX} of a pair"),
        (rb'"\udf89\ud83c"', BOX + BOX),
        (rb'"\ud83c\udf89"', "🎉"),
        (rb'"\u0000"', BOX),
        (b'"caf\xe9 \xff"', f"caf{BOX} {BOX}"),
        (b'"line\r\n\x1b[31mraw controls"', "line\r\n\x1b[31mraw controls"),
        (rb'"no such escape: \x41"', r"no such escape: \x41"),
        (b'"' + b"x" * 70_000 + b'"', "x" * 2_048),
        (b'"' + rb"\ud83c" * 70_000 + b'"', BOX * 2_048),
        (b'"' + b"x" * 1_048_000 + b'"', "x" * 2_048),
        (b'""', None),
        (b"null", None),
        (b"17", "17"),
        (b"true", "true"),
        (b"NaN", "NaN"),
        (rb'{"code":{"a":1,"a":"\ud83c"}}', r'{"code":{"a":1,"a":"\ud83c"}}'),
        (b'["Traceback","line 1"]', '["Traceback","line 1"]'),
        (b"[" * 3_000 + b"]" * 3_000, "[" * 2_048),
    ],
    ids=lambda value: repr(value[:25]) if isinstance(value, bytes) else "",
)
@pytest.mark.parametrize("name", ["error_message", "error_code"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_failed_result_is_never_refused_for_its_error_texts(
    caller: Caller, name: str, raw: bytes, message: str | None
) -> None:
    event_id = await caller.accept()
    body = b'{"event_id":"%s","%s":%s,"status":"failed"}' % (event_id.encode(), name.encode(), raw)

    answer = await caller.send("result", body)

    assert answer.status_code == 202, answer.text
    incident = (await caller.ask("GET", f"/events/{event_id}")).json()["incident"]
    kept = message if message is None or name == "error_message" else message[:255]
    assert (incident["reason"], incident[name]) == ("failed_result", kept)


@given(
    message=st.text(st.characters(categories=None), max_size=300),
    code=st.text(st.characters(categories=None), max_size=300),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
async def test_any_text_is_accepted_as_error_text(caller: Caller, message: str, code: str) -> None:
    event_id = await caller.accept()
    # Escaped, so that lone surrogates can be sent.
    body = json.dumps(
        {"event_id": event_id, "status": "failed", "error_message": message, "error_code": code}
    ).encode()

    answer = await caller.send("result", body)

    assert answer.status_code == 202, answer.text
    incident = (await caller.ask("GET", f"/events/{event_id}")).json()["incident"]
    # Two adjacent surrogates are a pair in JSON.
    expected = [
        re.sub("[\0\ud800-\udfff]", BOX, json.loads(json.dumps(text))) or None
        for text in (message, code[:255])
    ]
    assert [incident["error_message"], (incident["error_code"] or "")[:200] or None] == [
        expected[0],
        (expected[1] or "")[:200] or None,
    ]


@pytest.mark.parametrize("prose", ["", "left over", rb"\ud83c", None], ids=repr)
async def test_success_with_error_texts_is_applied_without_them(
    caller: Caller, prose: str | bytes | None
) -> None:
    event_id = await caller.accept()
    error_text = b'"' + prose + b'"' if isinstance(prose, bytes) else json.dumps(prose).encode()
    body = b'{"event_id":"%s","status":"success","error_code":%s,"error_message":%s}' % (
        event_id.encode(),
        error_text,
        error_text,
    )

    answer = await caller.send("result", body)

    assert answer.json() == {"accepted": True, "event_id": event_id, "state": "applied"}
    timeline = (await caller.ask("GET", f"/events/{event_id}")).json()["timeline"]
    assert [sorted(entry) for entry in timeline if entry["kind"] == "result_received"] == [
        ["at", "kind", "request_id", "status"]
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"event_id":"e","status":"failed","error_message":"' + b"x" * 1_048_576 + b'"}', 413),
        (b'{"event_id":"e","status":"failed","error_message":[' + b"1," * 500_000 + b"1]}", 404),
        (
            b'{"event_id":"e","status":"failed","error_message":[' + b'{"a":1},' * 100_000 + b"1]}",
            404,
        ),
        (
            b'{"event_id":"e","status":"failed","error_message":"x",'
            + b'"a":1,' * 100_000
            + b'"b":1}',
            413,
        ),
        (
            b'{"event_id":"e","status":"failed","a":"' + b"x" * 70_000 + b'","error_message":"x"}',
            413,
        ),
        (b'{"event_id":"e","status":"failed","a":"' + b"x" * 70_000 + b'"}', 413),
        (rb'{"event_id":"e","status":"failed","provider":"\ud83c","error_message":"\ud83c"}', 422),
        (rb'{"event_id":"e","status":"failed","error_message":"\ud83c","error_message":"b"}', 422),
    ],
    ids=[
        "prose of 1 MiB",
        "numbers",
        "objects",
        "fields",
        "something else of 70 KB",
        "no prose at all",
        "ill-formed elsewhere",
        "twice",
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_other_members_are_parsed_strictly(caller: Caller, body: bytes, status: int) -> None:
    assert (await caller.send("result", body)).status_code == status


@pytest.mark.parametrize("named_by", ["event_id", "provider_event_id", "stripe_event_id", "all"])
async def test_event_is_found_by_each_of_its_ids(caller: Caller, named_by: str) -> None:
    sent = receipt()
    event_id = await caller.accept(**sent)
    ids = {
        "event_id": event_id,
        "provider_event_id": sent["provider_event_id"],
        "stripe_event_id": sent["provider_event_id"],
    }
    names = ids if named_by == "all" else {named_by: ids[named_by]}

    answer = await caller.send("result", {**names, "status": "success"})

    assert answer.json().get("event_id") == event_id, answer.text


async def test_ids_of_different_events_are_refused(caller: Caller) -> None:
    other = receipt()
    event_id = await caller.accept()
    await caller.accept(**other)

    answer = await caller.send(
        "result",
        {
            "event_id": event_id,
            "provider_event_id": other["provider_event_id"],
            "status": "success",
        },
    )

    assert answer.status_code in (404, 422), answer.text


async def test_several_effects_need_the_effect_named(caller: Caller) -> None:
    first = receipt()
    await caller.accept(**first)
    second = await caller.accept(**{**first, "effect_type": "credit_grant"})
    result = {"provider_event_id": first["provider_event_id"], "status": "success"}

    ambiguous = await caller.send("result", result)
    named = await caller.send("result", {**result, "effect_type": "credit_grant"})

    assert ambiguous.status_code == 422
    assert [error["pointer"] for error in ambiguous.json()["errors"]] == ["/effect_type"]
    assert named.json()["event_id"] == second


async def test_another_projects_event_is_not_found(
    caller: Caller, live_project: CreatedProject
) -> None:
    sent = receipt()
    event_id = await caller.accept(**sent)
    other_tenant = caller.with_key(live_project.api_key)

    by_id = await other_tenant.send("result", {"event_id": event_id, "status": "success"})
    by_provider = await other_tenant.send(
        "result", {"stripe_event_id": sent["provider_event_id"], "status": "success"}
    )

    assert by_id.json()["code"] == by_provider.json()["code"] == "not_found"


async def test_repair_succeeds_by_the_result_that_names_it(caller: Caller) -> None:
    event_id = await caller.accept()
    incident_id = await caller.incident_of(event_id)
    replay_id = (await caller.ask("POST", f"/incidents/{incident_id}/reprocess")).json()[
        "replay_id"
    ]

    answer = await caller.send(
        "result", {"event_id": event_id, "status": "success", "replay_id": replay_id}
    )
    event = (await caller.ask("GET", f"/events/{event_id}")).json()

    assert answer.json()["state"] == event["state"] == "recovered"
    assert (event["incident"]["state"], event["incident"]["resolution"]) == ("resolved", "repaired")
    assert [(repair["replay_id"], repair["state"]) for repair in event["repairs"]] == [
        (replay_id, "succeeded")
    ]


async def test_repair_of_another_event_is_not_found(caller: Caller) -> None:
    incident_id = await caller.incident_of(await caller.accept())
    replay_id = (await caller.ask("POST", f"/incidents/{incident_id}/reprocess")).json()[
        "replay_id"
    ]
    other = await caller.accept()

    answer = await caller.send(
        "result", {"event_id": other, "status": "success", "replay_id": replay_id}
    )

    assert answer.json()["code"] == "not_found"
