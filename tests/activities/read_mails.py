"""Alerts with arbitrary texts, and a minimal mail parser without a library: lines and colons."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from domain.alerts import AlertChannel, AlertDestination
from domain.ids import DestinationId, EventId, IncidentId, ProjectId
from domain.incidents import AlertKind, Incident, IncidentState, Reason
from domain.receipts import EffectType, EventType, Provider, Receipt, ReceiptState
from store.alerts.due import AlertDue, AlertFacts
from tests.support.given import START

# Texts that break other mail code: encoded words, line breaks, lone surrogates, markup.
NASTY = (
    "=?utf-8?q?a=0D=0ABcc:_x@example.net?=",
    "=?utf-8?q?a=0D=0ABcc:_x@example.net=0D=0A=0D=0A<b>paid</b>?=",
    "=?utf-8?B?YQ0KQmNjOiB4QGV4YW1wbGUubmV0?= =?utf-8?q?=0D=0A?=",
    "order\r\nBcc: x@example.net\r\n\r\nbody",
    "order\rBcc: x@example.net",
    "order\n.\nMAIL FROM:<x@example.net>",
    "a\u0085Bcc: x@example.net",
    "a\u2028Bcc: x@example.net\u2029b",
    "half \ud83d and \udc00 other",
    "nul \0 esc \x1b[31m del \x7f c1 \x9b",
    "bidi \u202egnp.exe\u2066 \u200f",
    "{{ wording.title }} {% raw %} ${x} %s %(x)s",
    "<script>alert(1)</script> & \"quotes\" 'too'",
    "--=_makegood_=_--\r\nContent-Type: text/html",
    "=_makegood_=_",
    "é" * 10_000,
    "😀" * 10_000,
    "x" * 10_000,
    " ",
    "\u00a0\u200b\ufeff\U000e0001",
    "=?",
    "?=",
    "=" * 400,
)
FIELDS = (
    "internal_reference",
    "provider_event_id",
    "error_code",
    "error_message",
    "project_name",
    "event_type",
    "effect_type",
)


def alert_with(
    kind: str = AlertKind.INCIDENT_OPENED, *, destination: str = "ops@shop.example", **texts: Any
) -> AlertDue:
    """An alert with the given texts. Enum fields accept any text."""
    given = {
        "internal_reference": "order 1",
        "provider_event_id": "evt_1",
        "error_code": None,
        "error_message": None,
    }
    given |= {
        "event_type": EventType.INVOICE_PAID,
        "effect_type": EffectType.ACCESS_UNLOCK,
        "project_name": "shop",
    } | texts
    event_id, incident_id = EventId("evt_018f"), IncidentId("inc_018f")
    receipt = Receipt(
        event_id=event_id,
        project_id=ProjectId("prj_1"),
        livemode=True,
        state=ReceiptState.INCIDENT,
        provider=Provider.STRIPE,
        provider_event_id=given["provider_event_id"],
        stripe_event_id=None,
        event_type=given["event_type"],
        effect_type=given["effect_type"],
        internal_reference=given["internal_reference"],
        shopify_shop_domain=None,
        occurred_at=START,
        accepted_at=START,
        timeout_at=START + timedelta(minutes=30),
        deadline_at=START + timedelta(minutes=30),
        flags=(),
        request_id="req_1",
        expected_at=None,
        source_id=None,
        listed_at=START,
    )
    incident = Incident(
        id=incident_id,
        event_id=event_id,
        project_id=ProjectId("prj_1"),
        state=IncidentState.OPEN,
        reason=Reason.FAILED_RESULT,
        error_code=given["error_code"],
        error_message=given["error_message"],
        opened_at=START,
        acknowledged_at=None,
        resolved_at=None,
        resolution=None,
        active_replay_id=None,
        resolving_replay_id=None,
    )
    address = AlertDestination(DestinationId("dst_1"), AlertChannel.EMAIL, destination)
    facts = AlertFacts(
        incident, receipt, given["project_name"], (address,), None, texts.get("failing")
    )
    return AlertDue(
        alert_id=1,
        kind=kind,
        channel=AlertChannel.EMAIL,
        destination=destination,
        event_id=event_id,
        incident_id=incident_id,
        replay_id=None,
        about=None,
        tries=0,
        failing_since=None,
        facts=facts,
    )


@dataclass(frozen=True, slots=True)
class ReadByHand:
    """A mail's header fields, unfolded, in order, and the bytes after the first empty line."""

    fields: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.fields]

    def __getitem__(self, name: str) -> str:
        (value,) = [value for found, value in self.fields if found == name]
        return value


def read_by_hand(content: bytes) -> ReadByHand:
    """Raises: AssertionError when a line is not ASCII, is too long, or does not end with CRLF."""
    assert content.isascii()
    assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
    assert max(len(line) for line in content.split(b"\r\n")) <= 998
    head, _, body = content.partition(b"\r\n\r\n")
    fields: list[tuple[str, str]] = []
    for line in head.decode("ascii").split("\r\n"):
        if line.startswith(" "):
            assert line.strip(), "a folded line is never blank"
            fields[-1] = (fields[-1][0], f"{fields[-1][1]}\n{line}")
        else:
            name, colon, value = line.partition(": ")
            assert colon
            assert value
            fields.append((name, value))
    return ReadByHand(tuple(fields), body)
