"""The PagerDuty channel: triggers, acknowledges and resolves through the Events API v2. A target is
an integration's routing key.

The shape and limits are those of https://developer.pagerduty.com/docs/events-api-v2/. PagerDuty
shows all events of one `dedup_key` as one alert: `activities.alerts.http.data.dedup_key`. While a
group has unresolved incidents, the end of some only adds to its alert.
"""

import json
from typing import Any

from activities.alerts.channels import AlertMessage, ChannelAnswer
from activities.alerts.http.post import HttpPost
from domain.alerts import event_name
from domain.incidents import AlertKind
from domain.values.text import one_line
from domain.values.timestamps import to_iso

SUMMARY_CHARACTERS = 1_024
_VALUE_CHARACTERS = 1_000
_SOURCE_CHARACTERS = 255
_ACTIONS: dict[str, str] = {
    AlertKind.INCIDENT_ACKNOWLEDGED: "acknowledge",
}
# Of all other kinds: nobody's payment is lost yet.
_SEVERITIES: dict[str, str] = {
    AlertKind.INCIDENT_OPENED: "critical",
    AlertKind.REPAIR_FAILED: "critical",
    AlertKind.GROUP_GREW: "critical",
    AlertKind.BULK_REPAIR_ENDED: "info",
}


class PagerDutyChannel:
    """Sends alerts to the Events API v2 at `url`."""

    def __init__(self, post: HttpPost, *, url: str) -> None:
        self._post = post
        self._url = url

    async def send(self, message: AlertMessage, target: str) -> ChannelAnswer:
        """Send the event with the routing key `target`. Raises: as `Channel.send`."""
        body = json.dumps(pagerduty_event(message, routing_key=target)).encode()
        return await self._post(self._url, body, secrets=(target,))


# Any: JSON values.
def pagerduty_event(message: AlertMessage, *, routing_key: str) -> dict[str, Any]:
    """The body of the POST."""
    action = "resolve" if message.closes else _ACTIONS.get(message.kind, "trigger")
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": message.dedup_key,
    }
    if action != "trigger":
        return event
    severity = _SEVERITIES.get(message.kind, "warning")
    lines = (*message.facts, *message.details)
    details = {name: one_line(value, longest=_VALUE_CHARACTERS) for name, value in lines}
    payload = {
        "summary": one_line(message.summary, longest=SUMMARY_CHARACTERS),
        "source": one_line(message.project, longest=_SOURCE_CHARACTERS) or "Makegood",
        "severity": "warning" if message.livemode is False else severity,
        "timestamp": to_iso(message.created_at or message.at),
        "class": event_name(message.kind),
        "custom_details": {"What": message.sentence, **details},
    }
    links = [{"href": message.link, "text": message.link_label}]
    return event | {"payload": payload, "links": links, "client": "Makegood"}
