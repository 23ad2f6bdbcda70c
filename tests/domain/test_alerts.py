"""Events and stored kinds, retry delays, and what a destination is called."""

from datetime import UTC, datetime

import pytest

from domain.alerts import (
    CHANNEL_NAMES,
    STORED_KINDS,
    AlertChannel,
    AlertDestination,
    AlertEvent,
    WebhookTarget,
    alert_retry_seconds,
    event_name,
    events_of,
    kinds_of,
    wants,
)
from domain.ids import DestinationId
from domain.incidents import AlertKind

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
# Kinds that go to the assignee alone, or follow the subscription of another one.
WITHOUT_EVENT = {AlertKind.INCIDENT_ASSIGNED, AlertKind.INCIDENT_ACKNOWLEDGED}


def test_every_event_has_one_stored_kind_and_every_kind_its_event() -> None:
    assert set(STORED_KINDS) == set(AlertEvent)
    assert len(set(STORED_KINDS.values())) == len(STORED_KINDS)
    assert set(AlertKind) - WITHOUT_EVENT <= set(STORED_KINDS.values())
    assert {event_name(kind) for kind in STORED_KINDS.values()} == set(AlertEvent)


def test_subscription_survives_the_way_into_the_store_and_back() -> None:
    chosen = [AlertEvent.INCIDENT_REPAIR_FAILED, AlertEvent.GROUP_GREW]

    kinds = kinds_of(chosen)

    assert kinds == {"repair_failed", "group_grew"}
    assert events_of(kinds) == ["incident.repair_failed", "group.grew"]
    assert (kinds_of(None), events_of(None)) == (None, None)
    assert kinds_of(list(AlertEvent)) is None, "all of them are all, also of a later version"
    assert events_of({"incident_opened", "of_later"}) == ["incident.opened", "of.later"]


@pytest.mark.parametrize(
    ("kinds", "channel", "gets"),
    [
        (None, AlertChannel.PAGERDUTY, True),
        ({"incident_opened"}, AlertChannel.PAGERDUTY, True),
        ({"incident_resolved"}, AlertChannel.PAGERDUTY, False),
        (None, AlertChannel.SLACK, False),
        (None, AlertChannel.EMAIL, False),
    ],
)
def test_acknowledgement_follows_the_opening_to_pagers(
    kinds: set[str] | None, channel: AlertChannel, gets: bool
) -> None:
    assert wants(kinds, AlertKind.INCIDENT_ACKNOWLEDGED, channel=channel) is gets


@pytest.mark.parametrize("channel", [*AlertChannel, "of_later"])
def test_retries_of_each_channel_have_their_schedule(channel: str) -> None:
    delays = [alert_retry_seconds(channel, tries) for tries in (0, 1, 2, 3, 50)]

    assert delays == (
        [5, 10, 20, 40, 600] if channel == "email" else [30, 300, 3_600, 3_600, 3_600]
    )


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, 30), (0, 30), (10, 30), (90, 90), (10**9, 3_600)]
)
def test_retry_after_lengthens_a_delay_to_an_hour_at_most(asked: int | None, seconds: int) -> None:
    assert alert_retry_seconds(AlertChannel.SLACK, 0, asked_seconds=asked) == seconds


@pytest.mark.parametrize(
    ("channel", "target", "label", "title"),
    [
        ("email", "a@shop.example", None, "a@shop.example"),
        ("email", "a@shop.example", "on call", "on call"),
        ("slack", None, None, "Slack"),
        ("slack", None, "#pay", "#pay (Slack)"),
        ("carrier_pigeon", None, None, "Carrier_pigeon"),
    ],
)
def test_destination_is_called_by_its_label_and_never_by_a_secret(
    channel: str, target: str | None, label: str | None, title: str
) -> None:
    destination = AlertDestination(DestinationId("dst_1"), channel, target, label=label)

    assert destination.title == title


def test_state_of_a_destination() -> None:
    one = DestinationId("dst_1")

    assert AlertDestination(one, "slack", None).state == "active"
    assert AlertDestination(one, "slack", None, failing_since=NOW).state == "failing"
    disabled = AlertDestination(one, "slack", None, failing_since=NOW, disabled_at=NOW)
    assert disabled.state == "disabled"


def test_every_channel_has_a_name() -> None:
    assert set(CHANNEL_NAMES) == set(AlertChannel)


def test_target_of_a_webhook_is_read_as_it_was_written_and_shown_nowhere() -> None:
    target = WebhookTarget("https://hooks.example/'\n\"", "whsec_abc")

    assert WebhookTarget.from_text(target.to_text()) == target
    assert "hooks" not in repr(target)
    assert "whsec" not in repr(target)


@pytest.mark.parametrize("text", ["", "{}", "[]", '["a"]', '["a", 1]', "https://hooks.example/"])
def test_another_text_is_no_target_of_a_webhook(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        WebhookTarget.from_text(text)
