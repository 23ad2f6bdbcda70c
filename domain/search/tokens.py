"""The vocabulary of searches: the keys of tokens, and the values of those with a fixed set.

A token is `key:value`. `docs/searching.md` explains each; the console completes them from here.
"""

from collections.abc import Mapping

from domain.incidents import IncidentState, Reason

STATES = tuple(state.value for state in IncidentState)
# Values of `is:` beside the states.
ACKNOWLEDGED, SNOOZED, MUTED = "acknowledged", "snoozed", "muted"
ASSIGNED, FLAGGED = "assigned", "flagged"
# Values of `assignee:` beside the addresses of members.
ME, NOBODY = "me", "none"
MARKS = (ACKNOWLEDGED, SNOOZED, MUTED, ASSIGNED, FLAGGED)
# Keys with any text as their value, and what it is compared with.
TEXT_KEYS: Mapping[str, str] = {
    "provider": "the provider, such as stripe",
    "type": "the event type, such as invoice.paid",
    "effect": "the effect, such as access_unlock",
    "error": "the error code of the incident",
    "ref": "the internal reference, whole",
    "customer": "the reference of the customer, whole",
    "assignee": "me, the e-mail address of a member, or none",
    "group": "the id of a group of incidents, grp_…",
}
KEYS: Mapping[str, str] = {
    "is": f"{', '.join((*STATES, *MARKS))}",
    **TEXT_KEYS,
    "reason": f"{', '.join(Reason)}",
    "age": "how long ago it opened, such as >1h or <2d",
    "amount": "the amount at risk, such as >10000 (minor units) or >100EUR",
}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "is": (*STATES, *MARKS),
    "reason": tuple(reason.value for reason in Reason),
}
# Keys that may be repeated. Several states mean any of them; everything else must hold at once.
REPEATABLE = ("is", "age", "amount")
