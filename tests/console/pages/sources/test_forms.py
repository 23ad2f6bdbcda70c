"""Forms of sources: validated as in the REST API, and no secret is ever shown again."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest
from sqlalchemy import select, text, update

from api.console.composition import ConsoleDependencies
from cli.commands.stripe_events import stripe_event
from cli.demo.provider import DemoStripe, demo_stripe
from domain.projects import CreatedProject
from domain.sources.source import SourceKind
from egress.provider_api import ProviderUrls
from operations.composition import Operations
from operations.sources.check import ProviderCheck
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.schema.tables import PROJECTS, SOURCES
from store.sources.sources import list_sources, read_secret
from tests.console.conftest import Visitor, accept_any_url

KEY = "rk_test_51Nothing0Else0May0Be0Read"
LINES = (
    "invoice.paid credit_grant 15 /data/object/metadata/order_id\ncharge.refunded access_revocation"
)


@pytest.fixture
def stripe() -> Iterator[DemoStripe]:
    with demo_stripe() as provider:
        yield provider


@pytest.fixture
def parts(parts: ConsoleDependencies, stripe: DemoStripe) -> ConsoleDependencies:
    """The console, whose checks ask a provider on loopback."""
    check = ProviderCheck(
        urls=ProviderUrls(stripe=stripe.url), allow_test=(ip_network("127.0.0.0/8"),)
    )
    operations = Operations.build(
        database=parts.database,
        sealer=parts.sealer,
        judge_repair_url=accept_any_url,
        provider_check=check,
    )
    return replace(parts, operations=operations)


def form_of(kind: str, **changes: str) -> dict[str, str]:
    """The fields that are typed into the form of a new source."""
    fields = {
        "name": "Payments",
        "expects": LINES if kind.startswith("stripe") else "orders/paid access_unlock",
        "silent_after_minutes": "",
    }
    if kind.endswith("_api"):
        fields |= {
            "every_minutes": "5",
            "api_key": KEY if kind == "stripe_api" else "shpat_0a1b2c3d",
        }
    if kind.startswith("shopify"):
        fields["shop_domain"] = "acme.myshopify.com"
    return fields | changes


async def add(
    visitor: Visitor, project: CreatedProject, kind: str, **changes: str
) -> tuple[int, str, str]:
    """Submit the form of a new source. Returns the status, the address and the page."""
    path = f"/projects/{project.project.id}/sources"
    answer = await visitor.post(path, page=f"{path}/new?kind={kind}", **form_of(kind, **changes))
    if answer.status_code != 303:
        return answer.status_code, "", answer.text
    to = answer.headers["location"]
    return 303, to, (await visitor.open(to)).text


@pytest.mark.parametrize("kind", SourceKind)
async def test_source_of_each_kind_is_added(
    operator: Visitor, project: CreatedProject, database: Database, kind: SourceKind
) -> None:
    status, path, page = await add(operator, project, kind.value)

    async with database.reading() as session:
        (source,) = await list_sources(session, project.project.id)
    assert status == 303
    assert path == f"/projects/{project.project.id}/sources/{source.id}"
    assert "Source added." in page
    assert source.kind is kind
    assert source.shop_domain == ("acme.myshopify.com" if "shopify" in kind else None)
    first = source.expects[0]
    assert (first.within_minutes, first.livemode) == (15.0, False)
    if kind is SourceKind.STRIPE_API:
        assert first.reference == "/data/object/metadata/order_id"


async def test_webhook_is_added_first_and_gets_its_secret_afterwards(
    operator: Visitor, project: CreatedProject, database: Database, sealer: Sealer
) -> None:
    _, path, _ = await add(operator, project, "stripe_webhook")
    secret = "whsec_of-the-new-destination"

    answer = await operator.post(
        path, page=path, **form_of("stripe_webhook", signing_secret=secret, name="Renamed")
    )

    page = (await operator.open(answer.headers["location"])).text
    async with database.reading() as session:
        (source,) = await list_sources(session, project.project.id)
        assert await read_secret(session, sealer, source) == secret
    assert "Settings saved." in page
    assert "Renamed" in page
    assert secret not in page


async def test_empty_secret_keeps_the_stored_one(
    operator: Visitor, project: CreatedProject, database: Database, sealer: Sealer
) -> None:
    _, path, _ = await add(operator, project, "stripe_api")

    await operator.post(path, page=path, **form_of("stripe_api", api_key="", every_minutes="60"))

    async with database.reading() as session:
        (source,) = await list_sources(session, project.project.id)
        assert await read_secret(session, sealer, source) == KEY
    assert source.every_minutes == 60


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "),
        ("expects", ""),
        ("expects", "invoice.paid"),
        ("expects", "orders/paid access_unlock"),
        ("expects", "invoice.paid credit_grant soon"),
        ("expects", "invoice.paid credit_grant 15 not-a-pointer"),
        ("expects", "invoice.paid credit_grant 1e400"),
        ("expects", "invoice.paid credit_grant\n" * 51),
        ("every_minutes", "0"),
        ("every_minutes", "1441"),
        ("every_minutes", "٥"),
        ("every_minutes", "9" * 5_000),
        ("silent_after_minutes", "-1"),
        ("silent_after_minutes", "never"),
        ("account", "acme"),
        ("api_key", "rk_live_51Of0The0Other0Mode"),
        ("api_key", "pk_test_51Publishable"),
        ("api_key", "rk_test_\u202e51"),
    ],
)
async def test_invalid_field_is_reported_at_its_field(
    operator: Visitor, project: CreatedProject, database: Database, field: str, value: str
) -> None:
    status, _, page = await add(operator, project, "stripe_api", **{field: value})

    assert status == 422
    assert f'id="{field}-problem"' in page
    assert KEY not in page
    if field == "api_key":
        assert value not in page
    async with database.reading() as session:
        assert await list_sources(session, project.project.id) == []


async def test_error_of_an_expectation_names_its_line(
    operator: Visitor, project: CreatedProject
) -> None:
    lines = "invoice.paid credit_grant\n\n  invoice.paid shrug"

    _, _, page = await add(operator, project, "stripe_api", expects=lines)

    assert "Line 2: " in page
    assert "invoice.paid credit_grant\n  invoice.paid shrug" in page


async def test_removed_expectation_says_that_expected_receipts_stay(
    operator: Visitor, project: CreatedProject
) -> None:
    _, path, _ = await add(operator, project, "stripe_api")

    saved = await operator.post(
        path, page=path, **form_of("stripe_api", expects="invoice.paid credit_grant")
    )

    page = (await operator.open(path)).text
    assert saved.status_code == 303
    assert "No longer expected: charge.refunded for access_revocation." in page
    assert "Receipts that are expected already stay" in page


async def test_type_that_the_project_removed_is_named_on_both_pages(
    operator: Visitor, project: CreatedProject
) -> None:
    settings = f"/projects/{project.project.id}"
    form = {"name": "shop", "timeout_minutes": "30", "late_result": "resolve"}
    await operator.post(settings, page=settings, **form, effect_types="meter_repair")
    _, path, _ = await add(operator, project, "stripe_api", expects="invoice.paid meter_repair")

    await operator.post(settings, page=settings, **form, effect_types="")

    sentence = "Still expected, but not accepted by the project: meter_repair (by Payments)."
    assert sentence in (await operator.open(settings)).text
    assert sentence in (await operator.open(path)).text


async def test_refused_change_shows_what_was_typed_but_no_secret(
    operator: Visitor, project: CreatedProject
) -> None:
    _, path, _ = await add(operator, project, "stripe_api")

    answer = await operator.post(
        path, page=path, **form_of("stripe_api", name="Typed", every_minutes="often")
    )

    assert answer.status_code == 422
    assert 'value="Typed"' in answer.text
    assert 'value="often"' in answer.text
    assert KEY not in answer.text


async def test_check_says_what_stripe_answered(
    operator: Visitor, project: CreatedProject, stripe: DemoStripe
) -> None:
    stripe.add_event(stripe_event("invoice.paid", reference="order-1", at=1_700_000_000))
    _, refused, _ = await add(operator, project, "stripe_api", name="Revoked")
    _, taken, _ = await add(operator, project, "stripe_api", api_key=stripe.restricted_key)

    pages = {}
    for path in (refused, taken):
        answer = await operator.post(f"{path}/check", page=path)
        pages[path] = (await operator.open(answer.headers["location"])).text

    assert "Stripe refuses the key" in pages[refused]
    assert 'class="notice bad"' in pages[refused]
    assert "Stripe answered, and the key may read what is listed." in pages[taken]


async def test_source_is_paused_resumed_and_removed(
    operator: Visitor, project: CreatedProject, database: Database
) -> None:
    _, path, _ = await add(operator, project, "stripe_webhook")

    paused = await operator.post(f"{path}/pause", page=path)
    shown = (await operator.open(paused.headers["location"])).text
    resumed = await operator.post(f"{path}/resume", page=path)
    again = (await operator.open(resumed.headers["location"])).text
    removed = await operator.post(f"{path}/remove", page=path)
    listed = (await operator.open(removed.headers["location"])).text

    assert "Paused" in shown
    assert "Resumed." in again
    assert "The source is removed." in listed
    assert "No sources yet" in listed
    assert (await operator.open(path)).status_code == 404


async def test_change_of_a_removed_source_leads_to_the_list(
    operator: Visitor, project: CreatedProject
) -> None:
    _, path, _ = await add(operator, project, "stripe_webhook")
    fields = await operator.open(path)
    await operator.post(f"{path}/remove", page=path)
    token = fields.text.split('name="form_token" value="')[1].split('"')[0]

    for act in ("check", "pause", "resume", "remove"):
        answer = await operator.client.post(f"{path}/{act}", data={"form_token": token})
        page = (await operator.open(answer.headers["location"])).text
        assert answer.headers["location"] == f"/projects/{project.project.id}/sources", act
        assert "There is no such source." in page, act


@pytest.mark.parametrize("kind", ["", "paddle_api", "%00", "stripe_api%0d%0aX: y"])
async def test_unknown_kind_leads_to_the_choice(
    operator: Visitor, project: CreatedProject, kind: str
) -> None:
    path = f"/projects/{project.project.id}/sources"

    shown = await operator.open(f"{path}/new?kind={kind}")
    sent = await operator.post(path, page=f"{path}/new?kind=stripe_api", kind=kind)

    assert shown.headers["location"] == sent.headers["location"] == f"{path}#add"


async def test_every_act_is_in_the_audit_log(
    operator: Visitor, project: CreatedProject, database: Database
) -> None:
    _, path, _ = await add(operator, project, "stripe_webhook")
    for act in ("pause", "resume", "check", "remove"):
        await operator.post(f"{path}/{act}", page=path)

    async with database.reading() as session:
        entries = await session.execute(text("SELECT action FROM audit_log ORDER BY sequence"))
        actions = [action for (action,) in entries if action.startswith("source_")]
    assert actions == [
        "source_added",
        "source_changed",
        "source_changed",
        "source_checked",
        "source_removed",
    ]


async def test_no_secret_is_in_the_database_or_the_audit_log(
    operator: Visitor, project: CreatedProject, database: Database
) -> None:
    await add(operator, project, "stripe_api")

    async with database.reading() as session:
        sources = (await session.execute(select(SOURCES))).all()
        entries = (await session.execute(text("SELECT details FROM audit_log"))).all()
    assert KEY not in f"{sources}{entries}"
    assert KEY.encode() not in sources[0].sealed_secret


@pytest.mark.parametrize("kind", ["stripe_webhook", "stripe_api"])
async def test_types_that_the_project_added_are_offered_and_taken(
    operator: Visitor, project: CreatedProject, database: Database, kind: str
) -> None:
    at = f"/projects/{project.project.id}"
    async with database.transaction() as session:
        names = {"event_types": "invoice.voided", "effect_types": "tax_report"}
        await session.execute(update(PROJECTS).values(names))

    offered = (await operator.open(f"{at}/sources/new?kind={kind}")).text
    status, _, page = await add(operator, project, kind, expects="invoice.voided tax_report")

    async with database.reading() as session:
        (source,) = await list_sources(session, project.project.id)
    assert status == 303
    for name in ("invoice.voided", "invoice.paid", "tax_report", "credit_grant"):
        assert f"<code>{name}</code>" in offered
        assert f"<code>{name}</code>" in page
    assert [(one.event_type, one.effect_type) for one in source.expects] == [
        ("invoice.voided", "tax_report")
    ]
