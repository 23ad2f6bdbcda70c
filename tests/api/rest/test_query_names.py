"""A misspelt query parameter is refused by its name, not ignored."""

import pytest

from tests.api.serving import Caller


@pytest.mark.parametrize(
    ("path", "query", "pointer", "message"),
    [
        ("/events", "sate=open", "/sate", "Did you mean `state`?"),
        ("/incidents", "state=open&page=2", "/page", "This call has `created_after`, "),
        ("/audit", "actoin=key.created", "/actoin", "Did you mean `action`?"),
        ("/events/evt_1", "limit=1", "/limit", "This call has none."),
        ("/events/evt_1/timeline", "Limit=1", "/Limit", "Did you mean `limit`?"),
        ("/project", "x~/y=1", "/x~0~1y", "This call has none."),
        ("/events", "limit=1&limit=2&%00=%ff", "/\0", "This call has "),
    ],
    ids=str,
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_unknown_query_parameter_is_named_with_the_nearest_known_one(
    caller: Caller, path: str, query: str, pointer: str, message: str
) -> None:
    answer = await caller.ask("GET", f"{path}?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, "unknown_parameter")
    assert error["message"].startswith("This query parameter does not exist. " + message)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_unknown_query_parameters_are_bounded_and_come_after_the_key(
    caller: Caller,
) -> None:
    many = "&".join(f"{number}{'x' * 100}=1" for number in range(200))

    answer = await caller.ask("GET", f"/events?{many}")
    unknown = await caller.with_key("sk_test_unknown").ask("GET", "/events?sate=open")
    changed = await caller.ask("PATCH", "/project?dry_run=true", json={"timeout_minutes": 7})

    assert (answer.status_code, len(answer.json()["errors"])) == (422, 20)
    assert {len(error["pointer"]) for error in answer.json()["errors"]} == {65}
    assert unknown.status_code == 401
    assert changed.json()["errors"][0]["pointer"] == "/dry_run"
    assert (await caller.ask("GET", "/project")).json()["timeout_minutes"] == 30


@pytest.mark.parametrize(
    ("path", "query", "errors"),
    [
        ("/events", "limit=5&limit=6", {"/limit": "duplicate_name"}),
        ("/incidents", "state=open&state=open", {"/state": "duplicate_name"}),
        (
            "/audit",
            "limit=5&actor=a&actor=b&limit=5&actor=",
            {"/limit": "duplicate_name", "/actor": "duplicate_name"},
        ),
        ("/events", "q=%FF", {"/q": "invalid_format"}),
        (
            "/events",
            "q=a%ED%A0%80b&limit=%80",
            {"/q": "invalid_format", "/limit": "invalid_format"},
        ),
        ("/incidents", "cursor=%C3", {"/cursor": "invalid_format"}),
        ("/events", "q=%00", {"/q": "invalid_format"}),
        ("/events/evt_1/timeline", "limit=1_0", {"/limit": "wrong_type"}),
        ("/events", "limit=%201", {"/limit": "wrong_type"}),
        ("/incidents", "limit=1.0", {"/limit": "wrong_type"}),
        ("/audit", "limit=%2B1", {"/limit": "wrong_type"}),
        ("/audit", "limit=%D9%A1", {"/limit": "wrong_type"}),
        ("/events", "limit=-1", {"/limit": "out_of_range"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_repeated_or_malformed_query_parameter_is_named(
    caller: Caller, path: str, query: str, errors: dict[str, str]
) -> None:
    answer = await caller.ask("GET", f"{path}?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert {error["pointer"]: error["code"] for error in answer.json()["errors"]} == errors


@pytest.mark.parametrize("query", ["q=gr%C3%B6%C3%9Fe&limit=10", "q=%EF%BF%BD", "limit=010"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_text_in_utf_8_and_digits_are_accepted(caller: Caller, query: str) -> None:
    assert (await caller.ask("GET", f"/events?{query}")).status_code == 200
