"""The form of the account page that chooses how times are shown: time zone and language of dates.

It has no entry in the audit log: it changes what its user sees, and nothing else.
"""

from starlette.responses import Response

from api.console.access import SIGNED_IN, RouteSpec
from api.console.base import Console
from api.console.dependencies import CurrentViewer, FormFields


class DatePages:
    """Saves how the viewer sees times."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (("POST", "/account/dates", self.save, SIGNED_IN),)

    async def save(self, viewer: CurrentViewer, fields: FormFields) -> Response:
        action = self._console.people.accounts.set_dates(
            viewer.user_id,
            time_zone=fields.get("time_zone", ""),
            date_language=fields.get("date_language", ""),
        )
        return await self._console.perform(
            viewer,
            action,
            success="Saved. Times on pages and in mails to you are shown this way.",
            back="/account",
        )
