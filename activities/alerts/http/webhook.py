"""The webhook channel: posts an alert as JSON, signed as Standard Webhooks 1.0 says. A target is a
`WebhookTarget`.

The body is `{type, id, created_at, livemode, data}`. Its `id` is the same on every attempt.
"""

import json
import time
from typing import Any

from activities.alerts.channels import AlertMessage, ChannelAnswer, TargetRefused
from activities.alerts.http.post import HttpPost
from domain.alerts import WebhookTarget, event_name
from domain.security.signing import MalformedSecret, sign_standard
from domain.values.timestamps import to_iso


class WebhookChannel:
    """Sends alerts to webhooks of users."""

    def __init__(self, post: HttpPost) -> None:
        self._post = post

    async def send(self, message: AlertMessage, target: str) -> ChannelAnswer:
        """Post the alert to the webhook `target`. Raises: as `Channel.send`."""
        try:
            webhook = WebhookTarget.from_text(target)
            body = json.dumps(webhook_body(message), separators=(",", ":")).encode()
            headers = signed_headers(webhook.secret, message.id, body, at_seconds=int(time.time()))
        except (ValueError, MalformedSecret):
            raise TargetRefused from None
        return await self._post(webhook.url, body, secrets=(webhook.secret,), headers=headers)


# Any: JSON values.
def webhook_body(message: AlertMessage) -> dict[str, Any]:
    """The body of the POST."""
    texts = {"title": message.title, "summary": message.summary, "sentence": message.sentence}
    return {
        "type": event_name(message.kind),
        "id": message.id,
        "created_at": to_iso(message.created_at or message.at),
        "livemode": message.livemode,
        "data": {**message.data, **texts, "link": message.link},
    }


def signed_headers(
    secret: str, message_id: str, body: bytes, *, at_seconds: int
) -> tuple[tuple[str, str], ...]:
    """The headers of Standard Webhooks. Raises: MalformedSecret."""
    signature = sign_standard(secret, message_id=message_id, timestamp=at_seconds, body=body)
    return (
        ("webhook-id", message_id),
        ("webhook-timestamp", str(at_seconds)),
        ("webhook-signature", signature),
    )
