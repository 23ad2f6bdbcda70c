"""Every error code over real HTTP has the same shape."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from api.app import create_app
from api.composition import AppDependencies
from api.http.problems import PROBLEM_TYPES
from domain.errors import Code
from domain.projects import CreatedProject, Scope
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.api_keys import create_key
from store.projects.projects import set_suspended
from tests.api.serving import Caller, parts_on, receipt, serving

BIG = b'{"payload":"' + b"x" * 65_536 + b'"}'
MANY = {f"field_{number}": number for number in range(51)}


async def unauthorized(caller: Caller) -> httpx.Response:
    return await caller.with_key("sk_test_nonsense").send("receipt", receipt())


async def not_acceptable(caller: Caller) -> httpx.Response:
    return await caller.send("receipt", receipt(), headers={"Accept": "text/html"})


async def missing_accept_header(caller: Caller) -> httpx.Response:
    return await caller.send("receipt", receipt(), headers={"Accept": ""})


async def unsupported_media_type(caller: Caller) -> httpx.Response:
    return await caller.send("receipt", receipt(), headers={"Content-Type": "text/plain"})


async def payload_too_large(caller: Caller) -> httpx.Response:
    return await caller.send("receipt", BIG)


async def too_many_fields(caller: Caller) -> httpx.Response:
    return await caller.send("receipt", MANY)


async def missing_idempotency_key(caller: Caller) -> httpx.Response:
    return await caller.send("receipt", receipt(), headers={"Idempotency-Key": None})


async def idempotency_conflict(caller: Caller) -> httpx.Response:
    await caller.send("receipt", receipt(), key="same")
    return await caller.send("receipt", receipt(), key="same")


async def receipt_conflict(caller: Caller) -> httpx.Response:
    first = receipt()
    await caller.send("receipt", first)
    return await caller.send("receipt", {**first, "internal_reference": "another"})


async def incident_resolved(caller: Caller) -> httpx.Response:
    incident_id = await caller.incident_of(await caller.accept())
    await caller.ask("POST", f"/incidents/{incident_id}/resolve", json={"reason": "refunded"})
    return await caller.ask("POST", f"/incidents/{incident_id}/reprocess")


async def not_waiting(caller: Caller) -> httpx.Response:
    event_id = await caller.accept()
    await caller.send("result", {"event_id": event_id, "status": "success"})
    return await caller.ask("POST", f"/events/{event_id}/expire")


async def not_closed(caller: Caller) -> httpx.Response:
    incident_id = await caller.incident_of(await caller.accept())
    return await caller.ask("POST", f"/incidents/{incident_id}/reopen", json={"reason": "wrong"})


async def superseded(caller: Caller) -> httpx.Response:
    bought = await caller.accept(internal_reference="order-7")
    incident_id = await caller.incident_of(bought)
    await caller.accept(
        internal_reference="order-7", event_type="charge.refunded", effect_type="credit_deduction"
    )
    return await caller.ask("POST", f"/incidents/{incident_id}/reprocess")


async def repair_url_missing(caller: Caller) -> httpx.Response:
    incident_id = await caller.incident_of(await caller.accept())
    await caller.ask("PATCH", "/project", json={"repair_url": None})
    return await caller.ask("POST", f"/incidents/{incident_id}/reprocess")


async def validation_error(caller: Caller) -> httpx.Response:
    return await caller.send("receipt", receipt(effect_type="refund"))


async def not_found(caller: Caller) -> httpx.Response:
    return await caller.send("result", {"event_id": "evt_of_nobody", "status": "success"})


async def method_not_allowed(caller: Caller) -> httpx.Response:
    return await caller.ask("GET", "/receipt")


PROVOKED: dict[Code, Callable[[Caller], Awaitable[httpx.Response]]] = {
    Code.UNAUTHORIZED: unauthorized,
    Code.NOT_ACCEPTABLE: not_acceptable,
    Code.MISSING_ACCEPT_HEADER: missing_accept_header,
    Code.UNSUPPORTED_MEDIA_TYPE: unsupported_media_type,
    Code.PAYLOAD_TOO_LARGE: payload_too_large,
    Code.TOO_MANY_FIELDS: too_many_fields,
    Code.MISSING_IDEMPOTENCY_KEY: missing_idempotency_key,
    Code.IDEMPOTENCY_CONFLICT: idempotency_conflict,
    Code.RECEIPT_CONFLICT: receipt_conflict,
    Code.INCIDENT_RESOLVED: incident_resolved,
    Code.NOT_WAITING: not_waiting,
    Code.NOT_CLOSED: not_closed,
    Code.SUPERSEDED: superseded,
    Code.REPAIR_URL_MISSING: repair_url_missing,
    Code.VALIDATION_ERROR: validation_error,
    Code.NOT_FOUND: not_found,
    Code.METHOD_NOT_ALLOWED: method_not_allowed,
}
# Codes that need another application or project have a separate test below.
ELSEWHERE = {
    Code.BAD_SIGNATURE,  # tests/api/hooks/test_endpoint.py
    Code.FORBIDDEN,
    Code.SUBSCRIPTION_REQUIRED,
    Code.RATE_LIMITED,
    Code.IDEMPOTENCY_IN_PROGRESS,
    Code.INTERNAL_ERROR,
    Code.UNAVAILABLE,
}


def assert_problem(answer: httpx.Response, code: Code) -> None:
    """Assert that the response is the complete problem document of this code."""
    problem = answer.json()
    assert answer.status_code == PROBLEM_TYPES[code].status, answer.text
    assert problem["code"] == code
    assert problem["status"] == answer.status_code
    assert problem["type"] == f"http://makegood.example/docs/errors/{code}"
    assert problem["title"] == PROBLEM_TYPES[code].title
    assert problem["retryable"] is PROBLEM_TYPES[code].is_retryable
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["Request-Id"]
    assert problem["request_id"].startswith("req_")
    assert ("errors" in problem) is (code is Code.VALIDATION_ERROR)


def test_every_code_is_provoked_here() -> None:
    assert set(PROVOKED) | ELSEWHERE == set(Code)
    assert set(PROBLEM_TYPES) == set(Code)


@pytest.mark.parametrize("code", PROVOKED, ids=lambda code: str(code))
async def test_code_is_answered_as_its_problem(code: Code, caller: Caller) -> None:
    answer = await PROVOKED[code](caller)

    assert_problem(answer, code)


async def test_unauthorized_names_the_scheme(caller: Caller) -> None:
    assert (await unauthorized(caller)).headers["WWW-Authenticate"] == "Bearer"


async def test_method_not_allowed_names_every_method(caller: Caller) -> None:
    answer = await caller.ask("DELETE", "/project")

    assert_problem(answer, Code.METHOD_NOT_ALLOWED)
    assert answer.headers["Allow"] == "GET, HEAD, PATCH"
    assert (await method_not_allowed(caller)).headers["Allow"] == "POST"


async def test_problems_are_problem_json_unless_only_json_is_taken(caller: Caller) -> None:
    narrow = await caller.send("receipt", {}, headers={"Accept": "application/json"})
    wide = await caller.send("receipt", {}, headers={"Accept": "*/*"})
    asked = await caller.send(
        "receipt", {}, headers={"Accept": "application/json, application/problem+json"}
    )

    assert narrow.headers["Content-Type"] == "application/json"
    assert (
        wide.headers["Content-Type"] == asked.headers["Content-Type"] == "application/problem+json"
    )


async def test_unknown_address_is_not_found(caller: Caller) -> None:
    assert_problem(await caller.ask("GET", "/nothing/here"), Code.NOT_FOUND)


async def test_key_without_the_scope_is_forbidden(
    caller: Caller, database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        now, scopes = await database.now(session), frozenset({Scope.INGEST})
        _, api_key = await create_key(
            session, sealer, project_id=project.project.id, label="app", scopes=scopes, now=now
        )
    app = caller.with_key(api_key)

    assert (await app.send("receipt", receipt())).status_code == 202
    for method, path in (
        ("GET", "/events"),
        ("GET", "/incidents"),
        ("GET", "/project"),
        ("PATCH", "/project"),
        ("POST", "/incidents/inc_1/reprocess"),
        ("POST", "/events/evt_1/expire"),
        ("POST", "/events/evt_1/restart"),
    ):
        assert_problem(await app.ask(method, path), Code.FORBIDDEN)


async def test_live_receipts_do_not_expire_by_request(
    caller: Caller, live_project: CreatedProject
) -> None:
    live = caller.with_key(live_project.api_key)
    event_id = await live.accept()

    assert_problem(await live.ask("POST", f"/events/{event_id}/expire"), Code.FORBIDDEN)
    assert_problem(await live.ask("POST", "/events/evt_unknown/expire"), Code.FORBIDDEN)


async def test_suspended_project_is_refused(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        await set_suspended(
            session, project.project.id, suspended=True, now=await database.now(session)
        )
    async with serving(create_app(parts_on(database, sealer))) as client:
        suspended = Caller(client, project.api_key)

        assert_problem(await suspended.send("receipt", receipt()), Code.SUBSCRIPTION_REQUIRED)
        assert_problem(await suspended.ask("GET", "/events"), Code.SUBSCRIPTION_REQUIRED)


async def test_rate_limited_response_has_the_seconds_to_wait(
    database: Database, sealer: Sealer, project: CreatedProject, live_project: CreatedProject
) -> None:
    # a frozen clock adds no tokens
    app = create_app(parts_on(database, sealer, rate_limit=1, rate_burst=2), clock=lambda: 0.0)
    async with serving(app) as client:
        fast, other = Caller(client, project.api_key), Caller(client, live_project.api_key)

        answers = [await fast.send("receipt", receipt()) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert_problem(answers[2], Code.RATE_LIMITED)
        assert int(answers[2].headers["Retry-After"]) >= 1
        assert (await other.send("receipt", receipt())).status_code == 202


@pytest.fixture
async def away(
    database: Database, sealer: Sealer, project: CreatedProject
) -> AsyncIterator[Caller]:
    """An API whose store fails after it has authenticated the caller."""
    parts = parts_on(database, sealer)
    async with serving(create_app(parts)) as client:
        caller = Caller(client, project.api_key)
        await caller.accept()
        await _take_away(database, parts)
        yield caller


async def _take_away(database: Database, parts: AppDependencies) -> None:
    """Stop the committer, as a shutdown does. It then refuses requests."""
    await parts.committer.stop()


async def test_store_that_cannot_commit_is_unavailable_and_never_accepted(away: Caller) -> None:
    answer = await away.send("receipt", receipt())

    assert_problem(answer, Code.UNAVAILABLE)
    assert int(answer.headers["Retry-After"]) >= 1


async def test_bug_is_an_internal_error_that_reveals_nothing(
    database: Database, sealer: Sealer, project: CreatedProject, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(parts_on(database, sealer))

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError("the secret")

    async with serving(app) as client:
        answer = await client.get("/broken")

    assert_problem(answer, Code.INTERNAL_ERROR)
    assert "secret" not in answer.text


async def test_errors_never_repeat_what_was_sent(caller: Caller) -> None:
    canary = "4242-canary-4242"
    wrong = {
        name: canary
        for name in (
            "provider",
            "event_type",
            "effect_type",
            "occurred_at",
            "timeout_minutes",
            "payload",
        )
    }

    answers = [
        await caller.send("receipt", {**receipt(), **wrong}),
        await caller.send("result", {"event_id": canary, "status": canary}),
        await caller.send("result", {"event_id": canary, "status": "success"}),
        await caller.ask(
            "GET", f"/events?state={canary}&limit={canary}&cursor={canary}&created_after={canary}"
        ),
        await caller.ask("GET", f"/events/{canary}"),
        await caller.ask(
            "PATCH",
            "/project",
            json={"name": [canary], "alert_emails": [canary], "repair_url": canary},
        ),
        await caller.send("receipt", json.dumps(receipt()).encode()[:-1] + canary.encode()),
    ]

    assert [answer.status_code for answer in answers] == [422, 422, 404, 422, 404, 422, 422]
    assert not [answer.text for answer in answers if canary in answer.text]
