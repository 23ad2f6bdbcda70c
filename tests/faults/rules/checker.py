"""Decides from the history of a run alone whether the promise held: nothing lost, nothing doubled,
never early.

Pure and independent: it knows the contract, and nothing of the product's code. The rules are in
this folder, each a function that yields its violations. `run` calls it, and so can a reader of a
saved history.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from math import inf

from tests.faults.installation.history import History
from tests.faults.rules import acknowledgements as rules_said
from tests.faults.rules import callbacks as rules_callbacks
from tests.faults.rules import incidents as rules_incidents
from tests.faults.rules import mail as rules_mail
from tests.faults.rules.incidents import Expectation
from tests.faults.rules.reading import instant, read
from tests.faults.rules.record import ACKNOWLEDGED, Record, Request
from tests.faults.rules.verdict import Bounds, Rule, Verdict, Violation


def check(
    history: History, *, signing_secrets: Sequence[str], bounds: Bounds | None = None
) -> Verdict:
    """The verdict on a history; a callback's signature has to be by one of the secrets."""
    bounds = bounds or Bounds()
    record = read(history)
    violations = chain(
        rules_said.receipts_are_kept(record),
        rules_said.results_are_kept(record),
        rules_said.results_are_explained(record),
        rules_incidents.incidents_are_right(record, bounds),
        rules_incidents.incidents_are_single(record),
        rules_incidents.incidents_are_never_early(record, bounds),
        rules_incidents.incidents_come_in_time(record, bounds),
        rules_incidents.mails_come_in_time(record, bounds),
        rules_mail.mails_are_all_there(record),
        rules_mail.mails_are_true(record),
        rules_mail.mails_are_single(record, bounds),
        rules_mail.mails_have_one_identity(record),
        rules_callbacks.callbacks_are_signed(record, signing_secrets, bounds),
        rules_callbacks.callbacks_are_explained(record),
        rules_callbacks.attempts_are_in_order(record, bounds),
        rules_callbacks.nothing_begins_after_success(record, bounds),
        rules_callbacks.series_end_with_their_repair(record, bounds),
        rules_callbacks.repairs_are_single(record, bounds),
        settled_in_the_end(record, bounds),
        rules_said.answers_are_right(record, bounds),
        credits_are_earned(history, record, bounds),
        (
            Violation(Rule.OTHER_TENANT_HARMED, entry["what"], (), (entry.at,))
            for entry in history.of("other_tenant_harmed")
        ),
    )
    return Verdict(
        violations=tuple(violations),
        counts=_counts(record, bounds),
        faults=dict(sorted(Counter(fault.kind for fault in record.faults).items())),
        lateness=rules_incidents.lateness(record, bounds),
    )


def settled_in_the_end(record: Record, bounds: Bounds) -> Iterator[Violation]:
    """Nothing is left in the outbox, no workflow is stuck, and it did not take long."""
    if not record.settled:
        yield Violation(Rule.NOT_SETTLED, "the run ended before anything had settled", ())
        return
    last = record.settled[-1]
    if last["outbox"]:
        yield Violation(
            Rule.NOT_SETTLED, f"{last['outbox']} rows are left in the outbox", (), (last.at,)
        )
    if last["stuck"]:
        what = f"{len(last['stuck'])} workflows are stuck"
        yield Violation(
            Rule.NOT_SETTLED,
            what,
            tuple(one.removeprefix("receipt-") for one in last["stuck"]),
            (last.at,),
        )
    if last["seconds"] > bounds.settles_within_seconds:
        yield Violation(Rule.NOT_SETTLED, f"settling took {last['seconds']:.1f} s", (), (last.at,))


def credits_are_earned(history: History, record: Record, bounds: Bounds) -> Iterator[Violation]:
    """A deadline is credited for time in which no receipt and no result was acknowledged, and for
    no other.
    """
    answered = sorted(
        entry.at for entry in history.of("answered") if entry["status"] == ACKNOWLEDGED
    )
    gaps = [
        (before, after)
        for before, after in pairwise([*answered, inf])
        if after - before > bounds.outage_seconds
    ]
    for event in record.events.values():
        for entry in event.timeline("deadline_credited"):
            at = instant(entry["at"])
            if not any(
                before + bounds.outage_seconds < at < after + bounds.settling_seconds
                for before, after in gaps
            ):
                yield Violation(
                    Rule.UNEARNED_CREDIT,
                    f"{event.id} was credited, and ingest was answering",
                    (event.id,),
                    (at,),
                )


def _counts(record: Record, bounds: Bounds) -> dict[str, int]:
    expected = Counter(
        rules_incidents.expectation(record, event, bounds) for event in record.events.values()
    )
    repairs = [repair for event in record.events.values() for repair in event.repairs]
    return {
        "requests": len(record.requests),
        "requests without an answer": sum(request.status is None for request in record.requests),
        "requests refused": sum(request.status not in (None, 202) for request in record.requests),
        **_said_counts("receipts", (said.requests for said in record.receipts)),
        **_said_counts("results", (said.requests for said in record.results)),
        "events": len(record.events),
        "incidents expected": expected[Expectation.INCIDENT],
        "incidents allowed either way": expected[Expectation.EITHER],
        "incidents found": sum(event.incident is not None for event in record.events.values()),
        "late successes before their incident": rules_incidents.overtaken(record),
        "mails": len(record.mails),
        "mails that are copies": rules_mail.extra_mails(record),
        **_said_counts("reprocesses", ((request,) for request in record.reprocesses)),
        "repairs": len(repairs),
        "repairs that succeeded": sum(repair["state"] == "succeeded" for repair in repairs),
        "callbacks": len(record.callbacks),
        "callbacks that are copies": rules_callbacks.extra_callbacks(record),
        "faults": len(record.faults),
    }


def _said_counts(name: str, groups: Iterable[Sequence[Request]]) -> dict[str, int]:
    """Each counted once, however often it had to be sent:

    acknowledged, or unknown, or else refused.
    """
    became = Counter(_became(group) for group in groups)
    return {f"{name} sent": sum(became.values())} | {
        f"{name} {one}": became[one] for one in ("acknowledged", "unknown", "refused")
    }


def _became(requests: Sequence[Request]) -> str:
    if any(request.is_acknowledged for request in requests):
        return "acknowledged"
    return "unknown" if any(request.may_hold for request in requests) else "refused"
