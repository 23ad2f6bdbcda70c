"""The Slack channel: posts an alert as blocks to an incoming webhook. A target is its URL.

Texts of Makegood and of others are escaped as Slack says: `&`, `<` and `>`, so that none becomes a
mention or a link. Values stand in code marks, where nothing else is markup. The shape and limits
are those of https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and
https://docs.slack.dev/reference/block-kit/blocks.
"""

import json
from typing import Any

from activities.alerts.channels import AlertMessage, ChannelAnswer
from activities.alerts.http.post import HttpPost
from activities.alerts.http.selection import SENTENCE_CHARACTERS, chat_facts, ids, project
from domain.values.text import one_line

_TITLE_CHARACTERS = 100
# The most that Slack takes as a header, entities included.
_HEADER_CHARACTERS = 150


class SlackChannel:
    """Sends alerts to incoming webhooks of Slack."""

    def __init__(self, post: HttpPost) -> None:
        self._post = post

    async def send(self, message: AlertMessage, target: str) -> ChannelAnswer:
        """Post the alert to the URL `target`. Raises: as `Channel.send`."""
        body = json.dumps(slack_message(message)).encode()
        return await self._post(target, body)


# Any: JSON values.
def slack_message(message: AlertMessage) -> dict[str, Any]:
    """The body of the POST. `text` is what notifications show."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(_title(message), longest=_TITLE_CHARACTERS)},
        {"type": "section", "text": _plain(message.sentence, longest=SENTENCE_CHARACTERS)},
    ]
    fields = [_markup(f"*{escape(name)}*\n{_code(value)}") for name, value in chat_facts(message)]
    if fields:
        blocks.append({"type": "section", "fields": fields})
    link = f"<{escape(message.link)}|{escape(message.link_label)}>"
    blocks.append({"type": "section", "text": _markup(link)})
    about = " ".join(_code(text) for text in (project(message), *ids(message)))
    blocks.append({"type": "context", "elements": [_markup(about)]})
    return {"text": escape(message.summary), "mrkdwn": False, "blocks": blocks}


def escape(text: str) -> str:
    """The text with Slack's three control characters as entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _title(message: AlertMessage) -> str:
    """The title, cut so that it fits with its entities: a type of a project's own may need many."""
    title = one_line(message.title, longest=_TITLE_CHARACTERS)
    while len(escape(title)) > _HEADER_CHARACTERS:
        title = f"{title[:-2]}…"
    return title


def _code(value: str) -> str:
    return f"`{escape(value.replace('`', chr(39)))}`"


def _plain(text: str, *, longest: int) -> dict[str, Any]:
    return {
        "type": "plain_text",
        "text": escape(one_line(text, longest=longest)),
        "emoji": False,
    }


def _markup(text: str) -> dict[str, Any]:
    # Verbatim: Slack links no names and addresses by itself.
    return {"type": "mrkdwn", "text": text, "verbatim": True}
