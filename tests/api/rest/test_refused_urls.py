"""Saving a repair URL through the real guard: all refused addresses get the same response."""

import asyncio
from dataclasses import replace

import httpx
import pytest

from api.app import create_app
from domain.projects import CreatedProject
from egress.policy import Address
from egress.resolver import NameNotResolved
from egress.transport import judge_url
from operations.resolve_limit import MAXIMUM_CONCURRENT_LOOKUPS
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.activities.callback.test_transport import resolving
from tests.api.serving import Caller, parts_on, serving
from tests.support.waiting import wait_until_async

PRIVATE = "10.20.30.40"


async def answered(host: str, port: int) -> tuple[Address, ...]:
    """Resolve a name of this file: each stands for a case, such as a private address."""
    match host.removesuffix(".example"):
        case "private":
            return await resolving(PRIVATE)(host, port)
        case "mixed":
            return await resolving("93.184.216.34", PRIVATE)(host, port)
        case "metadata":
            return await resolving("169.254.169.254")(host, port)
        case "public":
            return await resolving("93.184.216.34")(host, port)
        case "empty":
            return ()
        case "silent":
            await asyncio.Event().wait()
    raise NameNotResolved


async def test_every_refused_host_gets_the_same_answer(
    database: Database, sealer: Sealer, project: CreatedProject, caplog: pytest.LogCaptureFixture
) -> None:
    bounds = {"timeout_seconds": 0.1, "refusal_step_seconds": 0}

    async def judge(url: str, *, livemode: bool) -> str:
        return await judge_url(url, allow=(), resolver=answered, **bounds)

    parts = replace(parts_on(database, sealer), judge_repair_url=judge)
    async with serving(create_app(parts)) as client:
        caller = Caller(client, project.api_key)
        hosts = ("private", "mixed", "metadata", "empty", "silent", "unknown")

        refusals = [
            await caller.ask("PATCH", "/project", json={"repair_url": f"https://{host}.example/"})
            for host in hosts
        ]
        literal = await caller.ask("PATCH", "/project", json={"repair_url": f"https://{PRIVATE}/"})
        saved = await caller.ask(
            "PATCH", "/project", json={"repair_url": "https://public.example/"}
        )

    problems = [{**answer.json(), "request_id": ""} for answer in (*refusals, literal)]
    assert [answer.status_code for answer in (*refusals, literal)] == [422] * 7
    assert all(one == problems[0] for one in problems)
    assert [error["pointer"] for error in problems[0]["errors"]] == ["/repair_url"]
    assert not [
        answer.text for answer in refusals if PRIVATE in answer.text or "169.254" in answer.text
    ]
    assert PRIVATE not in caplog.text
    assert saved.status_code == 200, saved.text


async def test_unresponsive_name_server_delays_its_own_project_only(
    database: Database, sealer: Sealer, project: CreatedProject, live_project: CreatedProject
) -> None:
    asked, may_answer = [], asyncio.Event()

    async def judge(url: str, *, livemode: bool) -> str:
        asked.append(url)
        await may_answer.wait()
        return url

    async with serving(
        create_app(replace(parts_on(database, sealer), judge_repair_url=judge))
    ) as client:
        caller, other = Caller(client, project.api_key), Caller(client, live_project.api_key)

        def save(by: Caller) -> asyncio.Task[httpx.Response]:
            return asyncio.create_task(
                by.ask("PATCH", "/project", json={"repair_url": "https://shop.example/"})
            )

        held = [save(caller) for _ in range(MAXIMUM_CONCURRENT_LOOKUPS)]
        await wait_until_async(lambda: len(asked) == MAXIMUM_CONCURRENT_LOOKUPS)
        refused = await save(caller)
        held.append(save(other))
        await wait_until_async(lambda: len(asked) == MAXIMUM_CONCURRENT_LOOKUPS + 1)
        may_answer.set()

        assert {answer.status_code for answer in await asyncio.gather(*held)} == {200}
        assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (
            429,
            "rate_limited",
            "1",
        )
        assert (await save(caller)).status_code == 200


@pytest.mark.parametrize(("rate", "burst"), [(3, 5)])
async def test_rate_limit_comes_from_the_settings_and_covers_rest_and_ingest(
    database: Database,
    sealer: Sealer,
    project: CreatedProject,
    live_project: CreatedProject,
    rate: int,
    burst: int,
) -> None:
    now = [0.0]
    async with serving(
        create_app(
            parts_on(database, sealer, rate_limit=rate, rate_burst=burst), clock=lambda: now[0]
        )
    ) as client:
        caller, other = Caller(client, project.api_key), Caller(client, live_project.api_key)
        reads = [await caller.ask("GET", "/project") for _ in range(burst - 1)]
        await caller.accept()
        refused = await caller.ask("GET", "/project")
        now[0] += 1.0
        later = [await caller.ask("GET", "/project") for _ in range(rate + 1)]

        assert [answer.status_code for answer in reads] == [200] * (burst - 1)
        assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (
            429,
            "rate_limited",
            "1",
        )
        assert [answer.status_code for answer in later] == [200] * rate + [429]
        assert (await other.ask("GET", "/project")).status_code == 200


@pytest.mark.parametrize(("body_bytes", "status"), [(65_536, 422), (65_537, 413)])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with its length", "in chunks"])
async def test_body_of_64_kib_is_read_and_one_byte_more_is_not(
    caller: Caller, body_bytes: int, status: int, is_chunked: bool
) -> None:
    body = b'{"payload":"' + b"x" * (body_bytes - 14) + b'"}'
    headers = {
        "Authorization": f"Bearer {caller.api_key}",
        "Accept": "*/*",
        "Content-Type": "application/json",
        "Idempotency-Key": f"body-{body_bytes}-{is_chunked}",
    }

    async def chunks() -> object:
        yield body[:40_000]
        yield body[40_000:]

    content = chunks() if is_chunked else body
    answer = await caller.client.post("/api/v1/receipt", content=content, headers=headers)  # type: ignore[arg-type]

    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == ("validation_error" if status == 422 else "payload_too_large")


@pytest.mark.parametrize(("fields", "status"), [(50, 422), (51, 413)])
@pytest.mark.parametrize("endpoint", ["receipt", "result"])
async def test_fifty_fields_are_taken_and_one_more_is_not(
    caller: Caller, endpoint: str, fields: int, status: int
) -> None:
    answer = await caller.send(endpoint, {f"field_{number}": 0 for number in range(fields)})

    assert answer.status_code == status
    assert answer.json()["code"] == ("validation_error" if status == 422 else "too_many_fields")
