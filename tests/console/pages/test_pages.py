"""Pages show stored data, and their forms change it."""

import html

import pytest

from domain.lifecycle import REPAIRING_STATES, LifecycleState
from domain.projects import CreatedProject
from operations.readiness import CheckStatus
from tests.console.conftest import ConsoleStubs, Visitor
from tests.support.given import Story

HTMX = {"HX-Request": "true"}


def seen_in(page: str) -> str:
    """The hash of the region, as the page sends it back."""
    return page.split('name="seen" value="')[-1].split('"')[0]


async def test_an_open_incident_is_listed_with_its_reference(
    operator: Visitor, story: Story
) -> None:
    event_id, _ = await story.opened(internal_reference="order <10482>")

    page = (await operator.open("/incidents?view=flat")).text

    assert html.escape("order <10482>") in page
    assert f'href="/events/{event_id}?list="' in page
    assert "No result before the deadline" in page
    assert story.project.name in page


@pytest.mark.parametrize(
    ("path", "states"),
    [
        ("/incidents?view=flat", {LifecycleState.OPEN}),
        ("/incidents?state=repairing", REPAIRING_STATES),
        ("/incidents?state=resolved", {LifecycleState.RECOVERED, LifecycleState.CLOSED}),
        (
            "/incidents?state=all",
            set(LifecycleState)
            - {LifecycleState.EXPECTED, LifecycleState.WAITING, LifecycleState.APPLIED},
        ),
        ("/events", set(LifecycleState)),
        ("/events?state=expected", {LifecycleState.EXPECTED}),
        ("/events?state=waiting", {LifecycleState.WAITING}),
        ("/events?state=applied&provider=stripe", {LifecycleState.APPLIED}),
        ("/events?provider=shopify", set()),
        ("/events?q=nothing-of-that-kind", set()),
    ],
)
async def test_tabs_and_filters_select_receipts(
    operator: Visitor, story: Story, path: str, states: set[LifecycleState]
) -> None:
    events = {(await story.reach(state))[0]: state for state in LifecycleState}

    page = (await operator.open(path)).text

    assert {state for event_id, state in events.items() if event_id in page} == states


async def test_a_long_list_has_pages(operator: Visitor, story: Story) -> None:
    events = [await story.receipt() for _ in range(27)]

    first = (await operator.open("/events")).text
    older = first.split('rel="next" href="')[1].split('"')[0]
    second = (await operator.open(html.unescape(older))).text

    assert [event_id in first for event_id in events] == [False] * 2 + [True] * 25
    assert [event_id in second for event_id in events] == [True] * 2 + [False] * 25
    assert "Newest" in second


async def test_an_address_with_empty_fields_is_shortened(operator: Visitor) -> None:
    answer = await operator.open("/events?q=x&project=&provider=&from=")

    assert (answer.status_code, answer.headers["location"]) == (303, "/events?q=x")


async def test_an_empty_installation_shows_how_to_send_the_first_receipt(operator: Visitor) -> None:
    assert "curl http://makegood.example/api/v1/receipt" in (await operator.open("/events")).text
    assert "No open incidents" in (await operator.open("/incidents")).text


@pytest.mark.parametrize("state", LifecycleState)
async def test_every_lifecycle_state_has_an_event_page(
    operator: Visitor, story: Story, state: LifecycleState
) -> None:
    event_id, replay_id = await story.reach(state)

    answer = await operator.open(f"/events/{event_id}")

    assert answer.status_code == 200
    assert f"http://temporal.example/namespaces/default/workflows/receipt-{event_id}" in answer.text
    assert (replay_id or event_id) in answer.text
    assert ("Reprocess</button>" in answer.text) == (state is LifecycleState.OPEN)


async def test_an_unchanged_region_is_not_sent_again(operator: Visitor, story: Story) -> None:
    event_id, _ = await story.opened()
    seen = seen_in((await operator.open(f"/events/{event_id}")).text)

    unchanged = await operator.open(f"/events/{event_id}?seen={seen}", **HTMX)
    await story.result(event_id)
    changed = await operator.open(f"/events/{event_id}?seen={seen}", **HTMX)

    assert unchanged.status_code == 204
    assert changed.status_code == 200
    assert "Resolved (late result)" in changed.text
    assert "<html" not in changed.text


async def test_reprocess_requests_one_repair(operator: Visitor, story: Story) -> None:
    event_id, incident_id = await story.opened()
    page, action = f"/events/{event_id}", f"/incidents/{incident_id}/reprocess"

    answer = await operator.post(action, page=page)

    assert (answer.status_code, answer.headers["location"]) == (303, page)
    assert [row["state"] for row in await story.rows("repairs", event_id)] == ["calling"]
    shown = (await operator.open(page)).text
    notice = "Repair requested. The incident is resolved when the app reports success."
    assert notice in shown
    assert "By you." in shown
    assert notice not in (await operator.open(page)).text


async def test_acknowledgement_is_shown_on_the_page(operator: Visitor, story: Story) -> None:
    event_id, incident_id = await story.opened()

    await operator.post(f"/incidents/{incident_id}/acknowledge", page=f"/events/{event_id}")

    assert "Incident acknowledged" in (await operator.open(f"/events/{event_id}")).text


async def test_manual_resolution_keeps_the_reason(operator: Visitor, story: Story) -> None:
    event_id, incident_id = await story.opened()
    page, action = f"/events/{event_id}", f"/incidents/{incident_id}/resolve"

    await operator.post(action, page=page, reason="  ")
    refused = (await operator.open(page)).text
    await operator.post(action, page=page, reason="refunded, ticket 4711")
    resolved = (await operator.open(page)).text

    assert "Enter a reason" in refused
    assert "Resolved manually by you: “refunded, ticket 4711”" in resolved
    assert "Resolved (manually)" in resolved


async def test_a_refusal_is_shown_on_the_page_of_the_form(operator: Visitor, story: Story) -> None:
    event_id, incident_id = await story.opened()
    page = f"/events/{event_id}"
    token = (await operator.open(page)).text.split('name="form_token" value="')[1].split('"')[0]
    await story.result(event_id)

    fields = {"form_token": token, "back": page}
    answer = await operator.client.post(f"/incidents/{incident_id}/reprocess", data=fields)

    assert answer.headers["location"] == page
    assert "there is nothing left to do" in (await operator.open(page)).text


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/\\evil.example", ""])
async def test_no_form_redirects_to_another_site(
    operator: Visitor, story: Story, back: str
) -> None:
    event_id, incident_id = await story.opened()

    action = f"/incidents/{incident_id}/acknowledge"
    answer = await operator.post(action, page=f"/events/{event_id}", back=back)

    assert answer.headers["location"] == "/incidents"


async def test_a_waiting_test_receipt_can_expire(operator: Visitor, story: Story) -> None:
    event_id = await story.receipt()

    answer = await operator.post(f"/events/{event_id}/expire", page=f"/events/{event_id}")

    assert answer.status_code == 303
    assert [kind for kind, _ in await story.outbox(event_id)] == ["expire"]


async def test_an_alert_may_link_to_the_incident(operator: Visitor, story: Story) -> None:
    event_id, incident_id = await story.opened()

    assert (await operator.open(f"/incidents/{incident_id}")).headers[
        "location"
    ] == f"/events/{event_id}"


@pytest.mark.parametrize(
    "path", ["/events/evt_none", "/incidents/inc_none", "/projects/prj_none", "/mailbox/none.eml"]
)
async def test_unknown_objects_have_a_not_found_page(operator: Visitor, path: str) -> None:
    answer = await operator.open(path)

    assert answer.status_code == 404
    assert "Not found" in answer.text
    assert '<nav aria-label="Main">' in answer.text, "the navigation stays"


async def test_the_navigation_counts_incidents_and_names_failed_checks(
    operator: Visitor, story: Story, stubs: ConsoleStubs
) -> None:
    await story.opened()
    whole = (await operator.open("/incidents")).text
    stubs.checks = {**stubs.checks, "engine": CheckStatus.FAILED, "worker": CheckStatus.UNKNOWN}

    rail = (await operator.open("/rail?section=incidents", **HTMX)).text

    assert "All systems working" in whole
    assert "Temporal not working" in rail
    assert '<li class="bad"><i class="dot"></i>Temporal<span class="sr">: not working' in rail
    assert '<li class="unknown"><i class="dot"></i>Worker<span class="sr">: unknown' in rail
    assert '<li class="good"><i class="dot"></i>Database<span class="sr">: working' in rail
    assert '<b class="count">1<' in rail


async def test_a_project_shows_its_settings_and_never_its_secrets(
    operator: Visitor, project: CreatedProject
) -> None:
    page = (await operator.open(f"/projects/{project.project.id}")).text

    assert "https://shop.example/repair" in page
    assert project.key.hint in page
    assert project.api_key not in page
    assert project.signing_secret not in page


async def test_amount_and_customer_are_on_the_pages(operator: Visitor, story: Story) -> None:
    event_id, _ = await story.opened(
        amount=120_450, currency="EUR", customer_reference="customer <7>"
    )
    await story.opened(amount=5_000, currency="JPY")

    event, listed = [
        (await operator.open(path)).text for path in (f"/events/{event_id}", "/incidents")
    ]

    assert "EUR 1,204.50" in event
    assert html.escape("customer <7>") in event
    assert "At risk: EUR 1,204.50" in listed
    assert "JPY 5,000." in listed
