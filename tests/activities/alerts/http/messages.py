"""Alert messages as the product writes them, with any text in any field."""

from dataclasses import replace
from datetime import timedelta

from activities.alerts.channels import AlertMessage
from activities.alerts.message import write_message
from domain.incidents import AlertKind
from store.alerts.due import AlertFacts
from tests.activities.alerts.by_mail import PUBLIC_URL
from tests.activities.read_mails import alert_with
from tests.support.given import START

# What would be markup, a mention, a macro or too long in one of the channels.
WORST = (
    "<!channel> <@U0> <https://evil.example|pay here> & &lt;!here&gt;",
    "*bold* _it_ ~gone~ `code` ```block``` > quote",
    "[link](https://evil.example) **b** # head ![i](x) {{DATE(2026-01-01)}} <at>all</at>",
    "\u202eevil\u2066 \x00\x1b[31m \ud800 line\r\nbreak \u2028",
    "\U0001f4b8" * 3_000,
    "&" * 5_000,
    '"' + "\\" * 4_000,
)


def message_with(
    kind: AlertKind = AlertKind.INCIDENT_OPENED, *, livemode: bool = True, **texts: str
) -> AlertMessage:
    """The message of an alert whose facts have these texts."""
    alert = alert_with(kind, **texts)
    assert isinstance(alert.facts, AlertFacts)
    receipt = replace(
        alert.facts.receipt,
        livemode=livemode,
        amount=120_450,
        currency="EUR",
        customer_reference=texts.get("customer_reference", "customer 7"),
        occurred_at=START - timedelta(minutes=31),
    )
    facts = replace(alert.facts, receipt=receipt)
    alert = replace(alert, facts=facts, created_at=START)
    return write_message(alert, at=START, public_url=PUBLIC_URL)
