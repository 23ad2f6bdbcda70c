"""What each channel sends has the vendor's published shape and limits, whatever the texts are."""

import json
import re
from typing import Any

import pytest

from activities.alerts.http.pagerduty import pagerduty_event
from activities.alerts.http.slack import slack_message
from activities.alerts.http.teams import teams_message
from activities.alerts.http.webhook import webhook_body
from domain.incidents import AlertKind
from tests.activities.alerts.http.messages import GROUP_ID, WORST, group_message_with, message_with
from tests.activities.read_mails import FIELDS, NASTY

KEY = "0123456789abcdef0123456789abcdef"
LINK = "https://makegood.example.com/events/evt_018f"
TEXTS = [*WORST, *NASTY]
EVERYWHERE = {"customer_reference", *FIELDS}


def worst_message(text: str) -> Any:
    return message_with(**dict.fromkeys(EVERYWHERE, text))


def judge_slack(body: dict[str, Any]) -> None:
    """https://docs.slack.dev/reference/block-kit/blocks, and the escapes of mrkdwn."""
    assert set(body) == {"text", "mrkdwn", "blocks"}
    assert len(body["blocks"]) <= 50
    texts = []
    for block in body["blocks"]:
        match block["type"]:
            case "header":
                assert block["text"]["type"] == "plain_text"
                assert len(block["text"]["text"]) <= 150
                texts.append(block["text"])
            case "section":
                fields = block.get("fields", [])
                assert len(fields) <= 10
                assert all(len(one["text"]) <= 2_000 for one in fields)
                texts += [*fields, *([block["text"]] if "text" in block else [])]
            case "context":
                assert len(block["elements"]) <= 10
                texts += block["elements"]
            case other:
                raise AssertionError(other)
    for one in texts:
        assert one["type"] in {"plain_text", "mrkdwn"}
        assert 1 <= len(one["text"]) <= 3_000
        # The only control sequence is our link; all other angle brackets are entities.
        rest = one["text"].replace(f"<{LINK}|Review and reprocess>", "")
        assert not set("<>") & set(rest)
        assert re.sub(r"&(amp|lt|gt);", "", rest).count("&") == 0
        if one["type"] == "mrkdwn":
            outside = re.sub(r"`[^`]+`", "", rest)
            assert re.fullmatch(r"(\*[A-Z][A-Za-z ]+\*)?\s*", outside), "values are in code marks"
    assert "<" not in body["text"]


def judge_teams(body: dict[str, Any]) -> None:
    """https://adaptivecards.io/schemas/adaptive-card.json and the limit of Teams."""
    assert len(json.dumps(body, ensure_ascii=False).encode()) <= 28 * 1_024
    assert body["type"] == "message"
    (attachment,) = body["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    for element in card["body"]:
        # A TextBlock would read Markdown; a TextRun reads none.
        assert element["type"] == "RichTextBlock"
        assert all(run["type"] == "TextRun" and run["text"] for run in element["inlines"])
    assert card["actions"] == [
        {"type": "Action.OpenUrl", "title": "Review and reprocess", "url": LINK}
    ]


def judge_pagerduty(body: dict[str, Any]) -> None:
    """https://developer.pagerduty.com/docs/events-api-v2/trigger-events/"""
    assert set(body) == {
        *("routing_key", "event_action", "dedup_key", "payload", "links", "client"),
    }
    payload = body["payload"]
    assert (body["routing_key"], body["event_action"]) == (KEY, "trigger")
    assert 1 <= len(body["dedup_key"]) <= 255
    assert 1 <= len(payload["summary"]) <= 1_024
    assert payload["source"]
    assert payload["severity"] in {"critical", "error", "warning", "info"}
    assert payload["timestamp"] == "2026-11-23T12:00:00.000Z"
    assert body["links"] == [{"href": LINK, "text": "Review and reprocess"}]
    assert len(json.dumps(body)) <= 512 * 1_024


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_worst_text_in_every_field_keeps_the_shape_of_each_vendor(text: str) -> None:
    message = worst_message(text)

    judge_slack(slack_message(message))
    judge_teams(teams_message(message))
    judge_pagerduty(pagerduty_event(message, routing_key=KEY))
    body = json.dumps(webhook_body(message)).encode()
    assert json.loads(body)["data"]["event"]["amount"] == 120_450


def test_chat_messages_say_what_who_how_much_how_long_and_where() -> None:
    message = message_with(internal_reference="order 7", error_code="seat_limit_reached")

    slack, teams = json.dumps(slack_message(message)), json.dumps(teams_message(message))

    for text in (slack, teams):
        for said in ("Access not ", "order 7", "customer 7", "EUR 1,204.50", "31 min", LINK):
            assert said in text
        assert "seat_limit_reached" in text
        assert "inc_018f" in text


def test_slack_shows_each_value_in_its_own_field() -> None:
    message = message_with(internal_reference="a & `b` <c>")

    fields = slack_message(message)["blocks"][2]["fields"]

    assert fields[0]["text"] == "*Reference*\n`a &amp; 'b' &lt;c&gt;`"


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        (AlertKind.INCIDENT_OPENED, "trigger"),
        (AlertKind.REPAIR_FAILED, "trigger"),
        (AlertKind.INCIDENT_ACKNOWLEDGED, "acknowledge"),
        (AlertKind.INCIDENT_RESOLVED, "resolve"),
        (AlertKind.DESTINATION_FAILING, "trigger"),
    ],
)
def test_pager_follows_the_incident_by_one_key(kind: AlertKind, action: str) -> None:
    event = pagerduty_event(message_with(kind), routing_key=KEY)

    assert event["event_action"] == action
    if kind is AlertKind.DESTINATION_FAILING:
        assert event["dedup_key"] != "inc_018f", "nothing would resolve it"
    else:
        assert event["dedup_key"] == "inc_018f"
    if action != "trigger":
        assert set(event) == {"routing_key", "event_action", "dedup_key"}


@pytest.mark.parametrize(("livemode", "severity"), [(True, "critical"), (False, "warning")])
def test_test_project_pages_nobody_as_if_money_were_lost(livemode: bool, severity: str) -> None:
    event = pagerduty_event(message_with(livemode=livemode), routing_key=KEY)

    assert event["payload"]["severity"] == severity


def test_webhook_body_is_the_contracts() -> None:
    body = webhook_body(message_with(internal_reference="order 7"))

    assert list(body) == ["type", "id", "created_at", "livemode", "data"]
    assert (body["type"], body["livemode"]) == ("incident.opened", True)
    assert body["created_at"] == "2026-11-23T12:00:00.000Z"
    assert re.fullmatch(r"alr_[0-9a-f]{32}", body["id"])
    data = body["data"]
    assert data["incident"]["id"] == "inc_018f"
    assert data["event"]["internal_reference"] == "order 7"
    assert (data["event"]["amount"], data["event"]["currency"]) == (120_450, "EUR")
    assert data["link"] == LINK
    assert not {"payload", "secret", "url"} & set(json.dumps(body).split('"'))


@pytest.mark.parametrize(
    ("kind", "unresolved", "action"),
    [
        (AlertKind.GROUP_GREW, 2, "trigger"),
        (AlertKind.REPAIR_FAILED, 2, "trigger"),
        (AlertKind.INCIDENT_OPENED, 2, "trigger"),
        (AlertKind.INCIDENT_ACKNOWLEDGED, 2, "acknowledge"),
        (AlertKind.INCIDENT_RESOLVED, 1, "trigger"),
        (AlertKind.INCIDENT_RESOLVED, 0, "resolve"),
    ],
)
def test_pager_shows_a_group_as_one_alert_that_ends_with_its_last_incident(
    kind: AlertKind, unresolved: int, action: str
) -> None:
    message = group_message_with(kind, unresolved=unresolved)
    event = pagerduty_event(message, routing_key=KEY)

    body = webhook_body(message)
    assert (event["event_action"], event["dedup_key"]) == (action, GROUP_ID)
    assert body["data"]["group"]["id"] == GROUP_ID
    assert (body["data"]["incidents"], body["livemode"]) == (3, True)
    assert all(GROUP_ID in json.dumps(of(message)) for of in (slack_message, teams_message))
    is_critical = event.get("payload", {}).get("severity") == "critical"
    assert is_critical == (action == "trigger" and kind is not AlertKind.INCIDENT_RESOLVED)


@pytest.mark.parametrize(("unresolved", "action"), [(True, "trigger"), (False, "resolve")])
def test_single_incident_ends_the_pagers_alert_only_as_the_last_of_its_group(
    unresolved: bool, action: str
) -> None:
    message = message_with(AlertKind.INCIDENT_RESOLVED, has_unresolved_group=unresolved)

    assert pagerduty_event(message, routing_key=KEY)["event_action"] == action
