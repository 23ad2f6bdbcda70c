"""Pages below an event: the callback of a repair as it was sent, and the payload of the receipt."""

import json
from base64 import b64encode
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import EVENT_OWNER, EVENT_VIEWER, RouteSpec
from api.console.base import Console
from api.console.dependencies import CurrentActor, CurrentViewer
from domain.incidents import RepairCallback, SentCallback

_TIMESTAMP = "x-sendpromptly-timestamp"
_NONCE = "x-sendpromptly-nonce"
_SIGNATURE = "x-sendpromptly-signature"


@dataclass(frozen=True, slots=True)
class ShownAttempt:
    """One attempt on the page. `check` are commands that compute its signature; empty if its
    headers are not stored.
    """

    sent: SentCallback
    head: str
    check: str
    signature: str


class EventDetailPages:
    """The callback of a repair, and the payload of a receipt."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            ("GET", "/events/{event_id}/repairs/{replay_id}", self.callback, EVENT_VIEWER),
            ("POST", "/events/{event_id}/payload", self.payload, EVENT_OWNER),
        )

    async def callback(
        self, request: Request, viewer: CurrentViewer, event_id: str, replay_id: str
    ) -> Response:
        found = await self._operations.events.read_callback(None, event_id, replay_id)
        body = None if found.body is None else found.body.encode()
        values = {
            "repair": found.repair,
            "body": found.body,
            "body_bytes": 0 if body is None else len(body),
            "attempts": _shown(found),
        }
        return await self._console.render_page(
            request, viewer, page="callback.html", section="incidents", values=values
        )

    async def payload(
        self, request: Request, viewer: CurrentViewer, actor: CurrentActor, event_id: str
    ) -> Response:
        """Show the payload. A form, not a link: each reading is in the audit log."""
        found = await self._operations.events.read_payload(None, event_id, actor=actor)
        values = {
            "event_id": found.event_id,
            "text": json.dumps(found.value, indent=2, ensure_ascii=False),
            "deleted_at": found.deleted_at,
        }
        return await self._console.render_page(
            request, viewer, page="payload.html", section="events", values=values
        )


def signature_check(body: str, sent: SentCallback) -> str:
    """Shell commands that compute the attempt's signature from the exact bytes and the secret.

    The body is in Base64, so that no shell and no page changes a byte of it. Empty if the headers
    are not stored.
    """
    headers = {name.lower(): value for name, value in sent.headers}
    if not {_TIMESTAMP, _NONCE, _SIGNATURE} <= headers.keys():
        return ""
    encoded = b64encode(body.encode()).decode("ascii")
    return (
        f"{{ printf '%s' '{headers[_TIMESTAMP]}.{headers[_NONCE]}.'"
        f" && printf '%s' '{encoded}' | base64 -d; }} \\\n"
        '  | openssl dgst -sha256 -hmac "$MAKEGOOD_SIGNING_SECRET"'
    )


def _shown(callback: RepairCallback) -> list[ShownAttempt]:
    """The attempts, the newest first."""
    return [
        ShownAttempt(
            sent=sent,
            head="\n".join(f"{name}: {value}" for name, value in sent.headers),
            check="" if callback.body is None else signature_check(callback.body, sent),
            signature=next((v for name, v in sent.headers if name.lower() == _SIGNATURE), ""),
        )
        for sent in reversed(callback.sent)
    ]
