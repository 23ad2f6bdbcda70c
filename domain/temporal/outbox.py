"""The kinds of outbox rows: each starts a run of the receipt's workflow, or signals it."""

from enum import StrEnum


class OutboxKind(StrEnum):
    """What an outbox row asks of Temporal.

    A signal has the name of its kind, except `ACCEPTED`, which is the signal `expire`.
    """

    START = "start"
    RESULT = "result"
    REPROCESS = "reprocess"
    RESOLVE = "resolve"
    EXPIRE = "expire"
    RESTART = "restart"
    ACCEPTED = "accepted"  # the app's receipt of an expected event: the run reads its deadline


# Requested by an operator, who waits for it.
URGENT_KINDS = (
    OutboxKind.REPROCESS,
    OutboxKind.RESOLVE,
    OutboxKind.EXPIRE,
    OutboxKind.RESTART,
)
