"""The e-mail channel: writes an alert as a mail and hands it to the mail server."""

from collections.abc import Awaitable, Callable

import structlog

from activities.alerts.channels import (
    AlertMessage,
    AlertNotDelivered,
    ChannelAnswer,
    TargetRefused,
)
from activities.alerts.email_format import OutgoingMail
from activities.alerts.email_message import MailWriter
from store.people.email_addresses import AddressRefused

# Raises `AlertNotDelivered`, as `activities.alerts.email_smtp.SmtpMailer` does.
# The server's own text may repeat the address, so only its code is kept.
ACCEPTED = 250
Mailer = Callable[[OutgoingMail], Awaitable[None]]
log = structlog.get_logger(__name__)


class EmailChannel:
    """Sends alerts as mails. A target is an e-mail address."""

    def __init__(self, mailer: Mailer, writer: MailWriter) -> None:
        self._mailer = mailer
        self._writer = writer

    async def send(self, message: AlertMessage, target: str) -> ChannelAnswer:
        """Mail the alert to the address `target`. Raises: as `Channel.send`."""
        await self._mailer(self._written(message, target))
        return ChannelAnswer(ACCEPTED)

    def _written(self, message: AlertMessage, target: str) -> OutgoingMail:
        try:
            return self._writer.write(message, target)
        except AddressRefused:
            raise TargetRefused from None
        except Exception as error:
            # The edge of one mail: a value that breaks the template must not stop the alert.
            ids = {"event_id": message.event_id, "incident_id": message.incident_id}
            log.exception("alert_unwritable", **ids)
            raise AlertNotDelivered(type(error).__name__, is_content_refused=True) from error
