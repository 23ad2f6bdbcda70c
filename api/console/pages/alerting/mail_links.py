"""The pages of the links in alert mails: no more alerts, and acknowledge.

Opening a page changes nothing, because link scanners open it too; its button does. The token in the
address is the authority: these pages need no session. The same POST is the one click of RFC 8058.
"""

from starlette.requests import Request
from starlette.responses import Response

from api.auth.audit_actor import actor_of
from api.console.access import BY_LINK, RouteSpec
from api.console.base import Console
from api.console.ui.rendering import Values
from domain.audit import VISITOR
from operations.alerts.mail_links import Acknowledging, Unsubscribing

UNSUBSCRIBE, ACKNOWLEDGE = "/alerts/unsubscribe/{token}", "/alerts/acknowledge/{token}"


class MailLinkPages:
    """The pages and forms of links in alert mails."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations.mail_links

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            ("GET", UNSUBSCRIBE, self.unsubscribe_page, BY_LINK),
            ("POST", UNSUBSCRIBE, self.unsubscribe, BY_LINK),
            ("GET", ACKNOWLEDGE, self.acknowledge_page, BY_LINK),
            ("POST", ACKNOWLEDGE, self.acknowledge, BY_LINK),
        )

    async def unsubscribe_page(self, token: str) -> Response:
        found = await self._operations.read_unsubscribing(token)
        return self._unsubscribing(found, token, is_done=found.is_done)

    async def unsubscribe(self, request: Request, token: str) -> Response:
        done = await self._operations.unsubscribe(token, actor=actor_of(request, VISITOR))
        return self._unsubscribing(done, token, is_done=True)

    async def acknowledge_page(self, token: str) -> Response:
        found = await self._operations.read_acknowledging(token)
        return self._acknowledging(found, token, is_done=False)

    async def acknowledge(self, request: Request, token: str) -> Response:
        done = await self._operations.acknowledge(token, actor=actor_of(request, VISITOR))
        return self._acknowledging(done, token, is_done=True)

    def _unsubscribing(self, found: Unsubscribing, token: str, *, is_done: bool) -> Response:
        values = {
            "project_name": found.project_name,
            "place": found.destination.title,
            "action": UNSUBSCRIBE.format(token=token),
        }
        return self._page("unsubscribe.html", values, is_done=is_done)

    def _acknowledging(self, found: Acknowledging, token: str, *, is_done: bool) -> Response:
        values = {
            "project_name": found.project_name,
            "incident": found.incident,
            "internal_reference": found.internal_reference,
            "action": ACKNOWLEDGE.format(token=token),
        }
        return self._page("acknowledge.html", values, is_done=is_done)

    def _page(self, template: str, values: Values, *, is_done: bool) -> Response:
        return self._console.pages.page(template, {**values, "is_done": is_done})
