"""The work of the shop: sends a receipt for each paid event, grants what was paid for, and reports
the result.

A fault switch makes it fail as real shops do: `drop` ends without a report, `fail` reports a
failure, `late` grants in time and reports long after. Repairs have a switch of their own. A thread
of the app runs `work_until`. This module uses no HTTP.
"""

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from makegood_client import Makegood, MakegoodError

from examples.merchant.state import ShopState, Work

IDLE_SECONDS = 0.1
RETRY_SECONDS = 1.0

EFFECT_OF = {
    "checkout.session.completed": "access_unlock",
    "invoice.paid": "credit_grant",
    "customer.subscription.deleted": "access_revocation",
    "customer.subscription.updated": "seat_update",
    "charge.refunded": "credit_deduction",
    "charge.dispute.created": "access_revocation",
}


class Fault(StrEnum):
    """What goes wrong with the next work."""

    NONE = "none"
    DROP = "drop"
    FAIL = "fail"
    LATE = "late"


@dataclass(slots=True)
class Switches:
    """What the control endpoint sets; it counts for events and repairs that arrive from then on.

    `is_moved`: the webhook answers 307, and events do not arrive. `timeout_minutes` goes into
    receipts (None: the project's own); `late_seconds` is how long `late` waits.
    """

    fault: Fault = Fault.NONE
    is_moved: bool = False
    repair_fault: Fault = Fault.NONE
    late_seconds: float = 5.0
    timeout_minutes: float | None = None


@dataclass(slots=True)
class Shop:
    """A small shop that sells through Stripe."""

    state: ShopState
    makegood: Makegood
    switches: Switches
    _woken: threading.Event = field(default_factory=threading.Event)

    def take_event(self, event: dict[str, Any]) -> None:
        """Accept a verified Stripe event durably, put its receipt on record, and owe the effect.

        Raises: MakegoodError when the receipt is not on record; Stripe then sends the event again.
        """
        sample, stripe_event_id = event["data"]["object"], event["id"]
        reference = str(sample.get("metadata", {}).get("reference") or sample["id"])
        self.state.accept_order(stripe_event_id, event["type"], reference)
        fields = {
            "provider": "stripe",
            "stripe_event_id": stripe_event_id,
            "event_type": event["type"],
            "effect_type": EFFECT_OF[event["type"]],
            "internal_reference": reference,
            "occurred_at": datetime.fromtimestamp(event["created"], UTC).isoformat(),
        }
        if self.switches.timeout_minutes is not None:
            fields["timeout_minutes"] = self.switches.timeout_minutes
        answer = self.makegood.receipt(fields, idempotency_key=f"receipt-{stripe_event_id}")
        self.state.plan_first_work(
            stripe_event_id,
            event_id=answer["event_id"],
            timeout_at=answer["timeout_at"],
            fault=self.switches.fault.value,
            due_at=time.time(),
        )
        self._woken.set()

    def take_repair(self, callback: dict[str, Any]) -> bool:
        """Owe the repair of a verified callback, once for its replay_id; False for an order that is
        not ours.

        An event that never arrived has no order here: the callback says what was paid for.
        """
        if callback.get("reason") == "missing_receipt" and callback["event_type"] in EFFECT_OF:
            self.state.accept_order(
                callback["provider_event_id"],
                callback["event_type"],
                callback["internal_reference"],
            )
        is_ours = self.state.plan_repair(
            callback["provider_event_id"],
            replay_id=callback["replay_id"],
            fault=self.switches.repair_fault.value,
        )
        self._woken.set()
        return is_ours

    def work_until(self, stopped: threading.Event) -> None:
        """Do what is due, one after the other, until stopped."""
        while not stopped.is_set():
            work = self.state.next_work()
            if work is None:
                self._woken.wait(IDLE_SECONDS)
                self._woken.clear()
                continue
            try:
                self._do(work)
            except MakegoodError as error:
                print(
                    f"report_failed stripe_event_id={work.stripe_event_id} code={error.code}",
                    flush=True,
                )
                if error.retryable:
                    self.state.postpone(work, seconds=RETRY_SECONDS)
                else:
                    self.state.finish(work, f"report refused: {error.code}")

    def _do(self, work: Work) -> None:
        match Fault(work.fault):
            case Fault.DROP:
                # The job dies here, as a killed process would: no effect, no word.
                self.state.finish(work, "dropped")
            case Fault.FAIL:
                self._report(
                    work,
                    status="failed",
                    error_code="card_ledger_locked",
                    error_message="The ledger was locked.",
                )
                self.state.finish(work, "failed")
            case Fault.LATE if self.state.grant(work):
                self.state.postpone(work, seconds=self.switches.late_seconds)
            case Fault.NONE | Fault.LATE:
                self.state.grant(work)
                self._report(work, status="success")
                self.state.finish(work, "success")

    def _report(self, work: Work, **fields: str) -> None:
        replay = {} if work.replay_id is None else {"replay_id": work.replay_id}
        effect_type = EFFECT_OF[work.event_type]
        # The same report always has the same key, so that one sent twice counts once.
        self.makegood.result(
            {
                "stripe_event_id": work.stripe_event_id,
                "effect_type": effect_type,
                **replay,
                **fields,
            },
            idempotency_key=f"result-{work.replay_id or work.stripe_event_id}-{fields['status']}",
        )
