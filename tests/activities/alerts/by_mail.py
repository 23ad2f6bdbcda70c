"""The activities that send alerts by mail alone, and mails written straight from an alert."""

from datetime import datetime

from activities.alerts.email import EmailChannel, Mailer
from activities.alerts.email_format import OutgoingMail
from activities.alerts.email_message import MailWriter
from activities.alerts.message import write_message, write_plain_message
from activities.alerts.send import AlertActivities
from domain.alerts import AlertChannel
from store.alerts.delivery import AlertDue
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.conftest import SECRET_KEY

PUBLIC_URL = "https://makegood.example.com"
WRITER = MailWriter(mail_from="makegood@example.com")


def alerts_by_mail(
    database: Database, mailer: Mailer, *, writer: MailWriter = WRITER
) -> AlertActivities:
    return AlertActivities(
        database,
        sealer=Sealer(SECRET_KEY),
        channels={AlertChannel.EMAIL: EmailChannel(mailer, writer)},
        public_url=PUBLIC_URL,
    )


def mail_of(alert: AlertDue, *, at: datetime, writer: MailWriter = WRITER) -> OutgoingMail:
    """Its full mail."""
    return writer.write(write_message(alert, at=at, public_url=PUBLIC_URL), alert.destination)


def plain_mail_of(alert: AlertDue, *, at: datetime) -> OutgoingMail:
    message = write_plain_message(alert, at=at, public_url=PUBLIC_URL)
    return WRITER.write(message, alert.destination)
