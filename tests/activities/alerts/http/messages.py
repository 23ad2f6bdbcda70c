"""Alert messages as the product writes them, with any text in any field."""

from dataclasses import replace
from datetime import timedelta

from activities.alerts.channels import AlertMessage
from activities.alerts.message import write_message
from activities.alerts.subjects.group_message import write_group_message
from domain.groups.group import Group, GroupCounts, GroupState
from domain.ids import EventId, GroupId, IncidentId, ProjectId
from domain.incidents import AlertKind, Reason
from store.alerts.due import AlertFacts, GroupAlertFacts
from tests.activities.alerts.by_mail import PUBLIC_URL
from tests.activities.read_mails import alert_with
from tests.support.given import START

GROUP_ID = GroupId("grp_" + "0" * 32)
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
    kind: AlertKind = AlertKind.INCIDENT_OPENED,
    *,
    livemode: bool = True,
    has_unresolved_group: bool = False,
    **texts: str,
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
    facts = replace(alert.facts, receipt=receipt, has_unresolved_group=has_unresolved_group)
    alert = replace(alert, facts=facts, created_at=START)
    return write_message(alert, at=START, public_url=PUBLIC_URL)


def group_message_with(kind: AlertKind, *, unresolved: int) -> AlertMessage:
    """The message of an alert about three incidents of a group of four."""
    counts = GroupCounts(open=unresolved, repairing=0, resolved=4 - unresolved)
    group = Group(
        id=GROUP_ID,
        project_id=ProjectId("prj_018f"),
        livemode=True,
        state=GroupState.OPEN if unresolved else GroupState.RESOLVED,
        effect_type="access_unlock",
        reason=Reason.FAILED_RESULT,
        error_code=WORST[0],
        first_at=START,
        last_at=START,
        counts=counts,
        amounts={"EUR": 120_450},
        muted_until=None,
    )
    alert = replace(
        alert_with(kind),
        event_id=EventId(GROUP_ID),
        incident_id=IncidentId(GROUP_ID),
        facts=GroupAlertFacts(group, 3, "Shop", (), None),
        created_at=START,
    )
    assert isinstance(alert.facts, GroupAlertFacts)
    return write_group_message(alert, alert.facts, at=START, public_url=PUBLIC_URL)
