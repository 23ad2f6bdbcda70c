"""The check of a source: what the provider's answer means, over real HTTP, and what is stored."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from domain.audit import Actor
from domain.errors import NotFound
from domain.projects import CreatedProject
from domain.sources.source import Source, SourceKind, SourceProblem
from egress.provider_api import ProviderAnswer, ProviderUrls
from operations.audit_writer import AuditWriter
from operations.sources.check import Asked, ProviderCheck, judge
from operations.sources.sources import UNREADABLE, UNSAVED, SourceOperations
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.schema.tables import AUDIT_LOG, SOURCES
from tests.activities.callback.test_transport import LOOPBACK, serving
from tests.egress.test_provider_api import answer, source
from tests.support.given import START
from tests.support.sources import stored_source

NADIA = Actor("usr_nadia")
KEY = "rk_test_the-key-of-the-source"
EVENTS = b'{"object": "list", "data": [], "has_more": false}'


def operations(database: Database, sealer: Sealer, port: int = 1) -> SourceOperations:
    url = f"http://127.0.0.1:{port}"
    return SourceOperations(
        database,
        AuditWriter(database, sealer),
        sealer=sealer,
        check=ProviderCheck(urls=ProviderUrls(url, url), allow_test=LOOPBACK),
        on_change=lambda _: None,
    )


async def listing(
    database: Database, sealer: Sealer, project: CreatedProject, **changes: Any
) -> Source:
    changes = {"secret": KEY} | changes
    return await stored_source(
        database, sealer, project.project.id, SourceKind.STRIPE_API, **changes
    )


async def stored(database: Database) -> tuple[Any, list[tuple[str, str]]]:
    """The row of the source, and the entries of the audit log."""
    async with database.reading() as session:
        row = (await session.execute(select(SOURCES))).one()
        log = await session.execute(select(AUDIT_LOG.c.action, AUDIT_LOG.c.details))
        return row, [(entry.action, entry.details) for entry in log]


async def test_check_asks_once_and_requests_a_listing(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await listing(database, sealer, project, account="acct_1")

    async with serving(answer(EVENTS)) as provider:
        checked = await operations(database, sealer, provider.port).check_source(
            project.project.id, added.id, actor=NADIA
        )

    assert checked.asked == Asked(
        True, "Stripe answered, and the key may read what is listed.", 200
    )
    (request,) = provider.requests
    assert request.startswith(b"GET /v1/events?limit=1 HTTP/1.1\r\n")
    assert f"Authorization: Bearer {KEY}".encode() in request
    assert b"Stripe-Account: acct_1" in request
    row, log = await stored(database)
    assert row.check_requested_at is not None
    assert (row.version, row.scheduled_version) == (2, 0)
    assert log == [("source_checked", '{"ok":true}')]


async def test_refused_key_is_no_secret_in_any_text(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await listing(database, sealer, project)
    quoting = json.dumps({"error": {"message": f"Invalid API Key provided: {KEY}"}}).encode()

    async with serving(answer(quoting, "401 Unauthorized")) as provider:
        checked = await operations(database, sealer, provider.port).check_source(
            project.project.id, added.id, actor=NADIA
        )

    assert checked.asked == Asked(
        False, "Stripe refuses the key: it is wrong, expired or revoked.", 401
    )
    row, log = await stored(database)
    assert row.check_requested_at is not None
    assert log == [("source_checked", '{"ok":false}')]
    assert KEY not in f"{checked!r} {log}"


async def test_provider_that_is_away_is_an_answer(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await listing(database, sealer, project)

    checked = await operations(database, sealer).check_source(
        project.project.id, added.id, actor=NADIA
    )

    assert checked.asked == Asked(False, "No answer: the provider took no connection.")


async def test_live_project_does_not_ask_the_ranges_of_test_projects(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await listing(database, sealer, project)
    check = ProviderCheck(urls=ProviderUrls("http://127.0.0.1:1"), allow_test=LOOPBACK)

    asked = await check.ask(added, KEY, livemode=True)

    assert asked == Asked(
        False, "No answer: the provider's host has no address that may be called."
    )


async def test_secret_that_cannot_be_decrypted_is_said_so(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await listing(database, sealer, project)
    async with database.transaction() as session:
        await session.execute(SOURCES.update().values(sealed_secret=b"\x01broken"))

    checked = await operations(database, sealer).check_source(
        project.project.id, added.id, actor=NADIA
    )

    assert checked.asked == Asked(False, UNREADABLE)


@pytest.mark.parametrize(
    ("values", "ok", "detail"),
    [
        ({}, False, "No event has come yet."),
        ({"last_event_at": START}, True, "The last event came on 2026-11-23 at 12:00:00 UTC."),
        (
            {"last_event_at": START, "problem": SourceProblem.BAD_SIGNATURE.value},
            False,
            "Deliveries come, and cannot be taken",
        ),
    ],
    ids=["new", "received", "failing"],
)
async def test_webhook_says_what_it_received_last(
    database: Database,
    sealer: Sealer,
    project: CreatedProject,
    values: dict[str, Any],
    ok: bool,
    detail: str,
) -> None:
    added = await stored_source(database, sealer, project.project.id)
    if values:
        async with database.transaction() as session:
            await session.execute(SOURCES.update().values(values))

    checked = await operations(database, sealer).check_source(
        project.project.id, added.id, actor=NADIA
    )

    assert (checked.asked.ok, checked.asked.status) == (ok, None)
    assert checked.asked.detail.startswith(detail)
    row, log = await stored(database)
    assert (row.check_requested_at, row.version) == (None, 1)
    assert [action for action, _ in log] == ["source_checked"]


async def test_webhook_without_a_secret_says_what_is_missing(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await stored_source(database, sealer, project.project.id, secret="")

    checked = await operations(database, sealer).check_source(
        project.project.id, added.id, actor=NADIA
    )

    assert checked.asked == Asked(False, UNSAVED)


async def test_source_that_is_removed_during_its_check_is_not_found(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await listing(database, sealer, project)
    ours = operations(database, sealer)

    async def remove_and_answer(_reader: object, writer: Any) -> None:
        await ours.remove_source(project.project.id, added.id, actor=NADIA)
        writer.write(answer(EVENTS))
        await writer.drain()

    async with serving(remove_and_answer) as provider:
        with pytest.raises(NotFound):
            await operations(database, sealer, provider.port).check_source(
                project.project.id, added.id, actor=NADIA
            )

    assert [action for action, _ in (await stored(database))[1]] == ["source_removed"]


@pytest.mark.parametrize(
    ("kind", "status", "body", "ok", "detail"),
    [
        ("stripe_api", 200, {"data": [{}]}, True, "Stripe answered"),
        ("shopify_api", 200, {"orders": []}, True, "Shopify answered"),
        ("stripe_api", 200, {"orders": []}, False, "no list of events"),
        ("stripe_api", 200, None, False, "no list of events"),
        ("stripe_api", 200, ["data"], False, "no list of events"),
        ("shopify_api", 200, {"orders": {}}, False, "no list of events"),
        ("stripe_api", 403, {}, False, "may not read events"),
        ("shopify_api", 403, {}, False, "may not read orders"),
        ("shopify_api", 404, {}, False, "no such shop"),
        ("stripe_api", 429, {}, False, "try again later"),
        ("shopify_api", 301, {}, False, "redirects"),
        ("stripe_api", 402, {}, False, "the status 402"),
        ("stripe_api", 503, None, False, "the status 503"),
    ],
)
def test_each_answer_has_its_meaning(
    kind: str, status: int, body: object, ok: bool, detail: str
) -> None:
    asked = judge(source(SourceKind(kind)), ProviderAnswer(status, body, None, None))

    assert (asked.ok, asked.status) == (ok, status)
    assert detail in asked.detail
