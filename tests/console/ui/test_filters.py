"""Addresses of lists: parsed leniently, written without empty parameters."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from api.console.ui.filters import EVENT_TABS, has_empty_fields, read_address
from api.console.ui.list_queries import INCIDENT_TABS
from domain.ids import ProjectId
from domain.incidents import IncidentState
from domain.names import OwnNames
from domain.projects import Project
from domain.receipts import EffectType, EventType, Provider, ReceiptState
from domain.results import LateResult
from operations.names import known_effect_types, known_event_types, known_providers


def test_the_bare_address_is_the_first_tab_with_nothing_chosen() -> None:
    address = read_address("/incidents", {}, tabs=INCIDENT_TABS)

    assert (address.tab, address.state, dict(address.chosen), str(address)) == (
        "open",
        "open",
        {},
        "/incidents",
    )


def test_the_tab_of_all_asks_for_no_state() -> None:
    assert read_address("/incidents", {"state": "all"}, tabs=INCIDENT_TABS).state is None


def test_unknown_parameters_are_left_out() -> None:
    query = {
        "state": "exploded",
        "provider": "paypal",
        "from": "yesterday",
        "colour": "red",
        "q": "  order  ",
    }

    address = read_address("/events", query, tabs=EVENT_TABS)

    assert str(address) == "/events?q=order"


def test_an_address_survives_being_written_and_read() -> None:
    query = {
        "state": "resolved",
        "event_type": "orders/paid",
        "internal_reference": "a&b=c",
        "cursor": "xyz",
    }

    address = read_address("/incidents", query, tabs=INCIDENT_TABS)

    filters = "event_type=orders%2Fpaid&internal_reference=a%26b%3Dc"
    assert str(address) == f"/incidents?state=resolved&{filters}&cursor=xyz"


def test_changing_the_tab_or_a_filter_drops_the_cursor() -> None:
    address = read_address(
        "/incidents", {"q": "x", "provider": "stripe", "cursor": "c"}, tabs=INCIDENT_TABS
    )

    assert address.with_tab("all") == "/incidents?state=all&provider=stripe&q=x"
    assert address.without("q") == "/incidents?provider=stripe"
    assert address.with_cursor(None) == "/incidents?provider=stripe&q=x"
    assert address.cleared() == "/incidents"
    assert replace(address, view="flat").cleared() == "/incidents?view=flat"
    assert replace(address, view="flat").with_tab("all").startswith("/incidents?state=all&")


def test_order_and_view_are_in_the_address() -> None:
    query = {"sort": "-amount", "view": "flat", "mode": "live"}

    address = read_address("/incidents", query, tabs=INCIDENT_TABS, view="flat")

    assert str(address) == "/incidents?mode=live&sort=-amount"
    assert (address.sort, dict(address.ignored)) == ("-amount", {})
    assert address.with_sort("opened_at") == "/incidents?mode=live&sort=opened_at"
    assert str(replace(address, order=None)) == "/incidents?mode=live"
    assert str(replace(address, order=None, chosen={})) == "/incidents?view=flat"
    wrong = read_address("/incidents", {"sort": "size"}, tabs=INCIDENT_TABS)
    assert (str(wrong), dict(wrong.ignored)) == ("/incidents", {"sort": "size"})
    assert dict(read_address("/events", query, tabs=EVENT_TABS).ignored) == {"sort": "-amount"}


@pytest.mark.parametrize(
    ("tab", "sort"), [("open", "opened_at"), ("repairing", "opened_at"), ("resolved", "-opened_at")]
)
def test_unresolved_incidents_are_listed_oldest_first(tab: str, sort: str) -> None:
    assert read_address("/incidents", {"state": tab}, tabs=INCIDENT_TABS).sort == sort


def test_both_days_are_in_the_list() -> None:
    address = read_address("/events", {"from": "2026-11-01", "to": "2026-11-01"}, tabs=EVENT_TABS)

    assert address.created_after == datetime(2026, 11, 1, tzinfo=UTC) - timedelta(milliseconds=1)
    assert address.created_before == datetime(2026, 11, 2, tzinfo=UTC)


def test_a_form_sent_with_empty_fields_is_noticed() -> None:
    assert has_empty_fields({"q": "x", "provider": ""})
    assert not has_empty_fields({"q": "x"})


def test_the_choices_are_those_of_the_contract() -> None:
    assert set(known_providers([])) == set(Provider)
    assert set(known_event_types([])) == set(EventType)
    assert set(known_effect_types([])) == set(EffectType)
    assert set(EVENT_TABS) - {"all"} == set(ReceiptState)
    assert set(INCIDENT_TABS) - {"all", "acknowledged", "snoozed"} == set(IncidentState)


def test_tabs_begin_with_what_needs_somebody() -> None:
    assert " ".join(INCIDENT_TABS) == "open repairing acknowledged snoozed resolved all"
    assert EVENT_TABS == (
        "all",
        "expected",
        "waiting",
        "incident",
        "applied",
        "recovered",
        "closed",
    )


def test_own_names_of_the_projects_are_filters() -> None:
    project = a_project(
        providers=OwnNames(("paddle",), ("lemon",)), effect_types=OwnNames(("license_issue",))
    )
    query = {"provider": "lemon", "event_type": "any.thing", "effect_type": "license_issue"}

    known = read_address("/events", query, tabs=EVENT_TABS, projects=[project])
    unknown = read_address("/events", query, tabs=EVENT_TABS)

    assert dict(known.chosen) == query
    assert dict(unknown.chosen) == {}


def a_project(**changes: OwnNames) -> Project:
    return Project(
        id=ProjectId("prj_1"),
        name="shop",
        livemode=False,
        repair_url=None,
        repair_url_gone=False,
        timeout_minutes=30.0,
        late_result=LateResult.RESOLVE,
        snapshots=False,
        alert_destinations=(),
        is_suspended=False,
        created_at=datetime(2026, 11, 1, tzinfo=UTC),
        **changes,
    )
