"""The built-in mailbox: emails that `makegood up` captured instead of sending. Read-only.

The HTML of an email is shown in a sandboxed frame with its own policy: no scripts, no forms, no
network.
"""

import asyncio
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from api.console.base import Console
from api.console.dependencies import CurrentViewer
from domain.errors import NotFound
from store.maintenance.mailbox import Mail, list_mails, read_mail

FRAME_HEADERS = {
    "Content-Security-Policy": (
        "sandbox allow-popups allow-popups-to-escape-sandbox; "
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "frame-ancestors 'self'"
    ),
    "X-Frame-Options": "SAMEORIGIN",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


class MailboxPages:
    """The list of emails, and one email."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def listing(self, request: Request, viewer: CurrentViewer) -> Response:
        values = {"mails": await asyncio.to_thread(list_mails, self._directory())}
        return await self._console.render_page(
            request,
            viewer,
            page="mailbox.html",
            section="mailbox",
            values=values,
            region="_mails.html",
        )

    async def one(self, request: Request, viewer: CurrentViewer, name: str) -> Response:
        values = {"mail": await self._mail(name)}
        return await self._console.render_page(
            request, viewer, page="mail.html", section="mailbox", values=values
        )

    async def html_part(self, name: str) -> Response:
        mail = await self._mail(name)
        # Links open in a new tab: the policy of the frame would block them.
        return HTMLResponse(f'<base target="_blank">{mail.html or ""}', headers=FRAME_HEADERS)

    async def _mail(self, name: str) -> Mail:
        mail = await asyncio.to_thread(read_mail, self._directory(), name)
        if mail is None:
            raise NotFound("There is no such email in the mailbox.")
        return mail

    def _directory(self) -> Path:
        if self._console.parts.mailbox_path is None:
            raise NotFound("Emails go to MAKEGOOD_SMTP_URL, so there is no built-in mailbox.")
        return self._console.parts.mailbox_path
