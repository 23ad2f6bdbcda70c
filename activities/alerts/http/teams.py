"""The Microsoft Teams channel: posts an alert as an Adaptive Card to a webhook of a workflow. A
target is its URL.

Every text from outside is a `TextRun`, in which Teams reads no Markdown. The shape and the limit of
28 KB are those of
https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using.
"""

import json
from typing import Any

from activities.alerts.channels import AlertMessage, AlertNotDelivered, ChannelAnswer
from activities.alerts.http.post import HttpPost
from activities.alerts.http.selection import SENTENCE_CHARACTERS, chat_facts, ids, project
from domain.values.text import one_line

_SCHEMA = "http://adaptivecards.io/schemas/adaptive-card.json"
_CONTENT_TYPE = "application/vnd.microsoft.card.adaptive"
# An older kind of webhook answers 200 to a message that did not arrive.
_NOT_ARRIVED = "Webhook message delivery failed"


class TeamsChannel:
    """Sends alerts to webhooks of Microsoft Teams."""

    def __init__(self, post: HttpPost) -> None:
        self._post = post

    async def send(self, message: AlertMessage, target: str) -> ChannelAnswer:
        """Post the alert to the URL `target`. Raises: as `Channel.send`."""
        body = json.dumps(teams_message(message), ensure_ascii=False).encode()
        answer = await self._post(target, body)
        if answer.excerpt.startswith(_NOT_ARRIVED):
            raise AlertNotDelivered("Teams did not deliver the message", answer=answer)
        return answer


# Any: JSON values.
def teams_message(message: AlertMessage) -> dict[str, Any]:
    """The body of the POST: a message with one card."""
    about = " · ".join((project(message), *ids(message)))
    body = [
        _text(message.title, size="large", weight="bolder"),
        _text(one_line(message.sentence, longest=SENTENCE_CHARACTERS)),
        *(_fact(name, value) for name, value in chat_facts(message)),
        _text(about, size="small", isSubtle=True),
    ]
    card = {
        "$schema": _SCHEMA,
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": [
            {"type": "Action.OpenUrl", "title": message.link_label, "url": message.link},
        ],
    }
    attachment = {"contentType": _CONTENT_TYPE, "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _text(text: str, **style: object) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}


def _fact(name: str, value: str) -> dict[str, Any]:
    runs = [
        {"type": "TextRun", "text": f"{name}: ", "weight": "bolder"},
        {"type": "TextRun", "text": value},
    ]
    return {"type": "RichTextBlock", "inlines": runs, "spacing": "small"}
