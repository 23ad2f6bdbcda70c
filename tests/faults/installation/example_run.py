"""A small run, written by hand: four orders that keep every rule. Tests change one thing at a time.

Order 1 succeeds. Order 2 reports nothing and is repaired. Order 3 fails, and its repair fails too.
Order 4 is unknown at first, then accepted, and its deadline is far away. Instants are seconds from
`START`. Used by the tests of the checker and of the report.
"""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tests.faults.installation.history import Entry, History

START = 1_795_435_200.0
OBSERVED = 95.0
SECRET = "whsec_" + base64.b64encode(b"a secret of the tests, 32 bytes.").decode()

# Any: JSON of any shape.
Json = dict[str, Any]


@dataclass(slots=True)
class Run:
    """What a history is made of: entries, and the events as they will be observed."""

    entries: list[Entry] = field(default_factory=list)
    events: dict[int, Json] = field(default_factory=dict)
    requests: int = 0

    def note(self, at: float, kind: str, /, **fields: Any) -> Entry:
        entry = Entry(START + at, kind, fields)
        self.entries.append(entry)
        return entry

    def say(
        self,
        at: float,
        endpoint: str,
        key: str | None,
        body: Json,
        *,
        status: int | None = 202,
        **answer: Any,
    ) -> str:
        """A request and its answer 20 ms later; with None as status nobody knows."""
        self.requests += 1
        request = f"{endpoint}-{self.requests}"
        order = body.get("internal_reference") or body["event_id"].replace("evt_", "order-")
        self.note(
            at, "sent", request=request, endpoint=endpoint, key=key, body=body, api=0, order=order
        )
        if status is None:
            self.note(at + 0.02, "unknown", request=request, error="ReadTimeout")
        else:
            self.note(
                at + 0.02, "answered", request=request, status=status, body=answer, replayed=False
            )
        return request

    def receipt(
        self, at: float, number: int, *, timeout: float = 60.0, key: str = "", **answered: Any
    ) -> str:
        """A receipt of an order; accepted unless something else is answered."""
        answer: Json = {
            "accepted": True,
            "event_id": f"evt_{number}",
            "timeout_at": wire(at + timeout),
        }
        body = {
            "provider": "stripe",
            "stripe_event_id": f"evt_stripe_{number}",
            "effect_type": "access_unlock",
        }
        body |= {"event_type": "invoice.paid", "internal_reference": f"order-{number}"}
        return self.say(at, "receipt", key or f"receipt {number}", body, **(answer | answered))

    def result(
        self,
        at: float,
        number: int,
        result_status: str,
        *,
        key: str = "",
        replay_id: str = "",
        **answered: Any,
    ) -> str:
        """A result of an order, accepted unless something else is answered."""
        body = {"event_id": f"evt_{number}", "status": result_status} | (
            {"replay_id": replay_id} if replay_id else {}
        )
        answer: Json = {"accepted": True, "event_id": f"evt_{number}", "state": "applied"}
        return self.say(
            at, "result", key or f"result {number} {replay_id}", body, **(answer | answered)
        )

    def reprocess(self, at: float, number: int, **answered: Any) -> str:
        body = {"incident_id": f"inc_{number}", "event_id": f"evt_{number}"}
        return self.say(
            at,
            "reprocess",
            None,
            body,
            **({"replay_id": f"rpl_{number}", "incident_id": f"inc_{number}"} | answered),
        )

    def mail(
        self, at: float, number: int, title: str, *, replay_id: str = "", message_id: str = ""
    ) -> Entry:
        """A mail as the product writes it, its Message-ID made from its notice."""
        lines = [
            title,
            "",
            f"Incident ID   inc_{number}",
            *([f"Repair ID     {replay_id}"] if replay_id else []),
        ]
        return self.note(
            at,
            "mail",
            message_id=message_id
            or f"<{number}.{title.replace(' ', '-')}.{replay_id}@example.com>",
            in_reply_to=None,
            subject=f"[test] Incident: order-{number} · invoice.paid · missing_result",
            to="ops@example.com",
            text="\n".join([*lines, "", f"Review: http://127.0.0.1:8000/events/evt_{number}", ""]),
        )

    def callback(
        self,
        at: float,
        number: int,
        attempt: int,
        *,
        body: str = "",
        nonce: str = "",
        secret: str = SECRET,
    ) -> Entry:
        """A signed call of the repair endpoint."""
        content = {
            "replay_id": f"rpl_{number}",
            "incident_id": f"inc_{number}",
            "event_id": f"evt_{number}",
        }
        body, timestamp = body or json.dumps(content), str(int(START + at))
        nonce = nonce or hashlib.md5(f"{at} {number}".encode()).hexdigest()
        key = base64.b64decode(secret.removeprefix("whsec_"))
        standard = hmac.new(
            key, f"rpl_{number}.{timestamp}.{body}".encode(), hashlib.sha256
        ).digest()
        headers = {
            "x-sendpromptly-timestamp": timestamp,
            "x-sendpromptly-nonce": nonce,
            "x-sendpromptly-signature": hmac.new(
                secret.encode(), f"{timestamp}.{nonce}.{body}".encode(), hashlib.sha256
            ).hexdigest(),
            "x-sendpromptly-attempt": str(attempt),
            "webhook-id": f"rpl_{number}",
            "webhook-timestamp": timestamp,
            "webhook-signature": "v1," + base64.b64encode(standard).decode(),
        }
        return self.note(at, "callback", headers=headers, body=body, answered=202)

    def fault(
        self, began: float, ended: float | None, kind: str = "kill", target: str = "worker-1"
    ) -> None:
        name = f"{kind} {target} {began}"
        self.note(began, "fault_began", fault=name, kind=kind, target=target)
        if ended is not None:
            self.note(ended, "fault_ended", fault=name, kind=kind, target=target)

    def observe(self, number: int, *, at: float, timeout: float, state: str) -> Json:
        """The event of an order as it will be observed, without incident and repairs."""
        self.events[number] = {
            "event_id": f"evt_{number}",
            "state": state,
            "provider": "stripe",
            "provider_event_id": f"evt_stripe_{number}",
            "effect_type": "access_unlock",
            "internal_reference": f"order-{number}",
            "timeout_at": wire(at + timeout),
            "deadline_at": wire(at + timeout),
            "flags": [],
            "incident": None,
            "repairs": [],
            "timeline": [{"at": wire(at), "kind": "receipt_accepted"}],
        }
        return self.events[number]

    def open(self, number: int, at: float, reason: str, *, resolved: float | None = None) -> None:
        """The incident of an order, as it will be observed."""
        event = self.events[number]
        event["incident"] = {
            "id": f"inc_{number}",
            "state": "open" if resolved is None else "resolved",
            "reason": reason,
            "opened_at": wire(at),
            "resolved_at": None if resolved is None else wire(resolved),
        }
        event["timeline"].append(
            {
                "at": wire(at),
                "kind": "incident_opened",
                "incident_id": f"inc_{number}",
                "reason": reason,
            }
        )
        if resolved is not None:
            event["timeline"].append(
                {"at": wire(resolved), "kind": "incident_resolved", "incident_id": f"inc_{number}"}
            )

    def received(self, number: int, at: float, result_status: str, replay_id: str = "") -> None:
        """A result on the timeline of an order."""
        replay = {"replay_id": replay_id} if replay_id else {}
        self.events[number]["timeline"].append(
            {"at": wire(at), "kind": "result_received", "status": result_status} | replay
        )

    def repair(
        self,
        number: int,
        at: float,
        attempts: list[float],
        *,
        failed: float | None = None,
        name: str = "",
    ) -> None:
        """A repair of an order, as it will be observed: failed at an instant, or else a success."""
        event, replay_id = self.events[number], name or f"rpl_{number}"
        tried = [
            {"number": count, "at": wire(one), "status": 202}
            for count, one in enumerate(attempts, 1)
        ]
        state, cause = ("succeeded", None) if failed is None else ("failed", "failed_result")
        event["repairs"].append(
            {
                "replay_id": replay_id,
                "state": state,
                "cause": cause,
                "requested_at": wire(at),
                "attempts": tried,
            }
        )
        if failed is not None:
            event["timeline"].append(
                {"at": wire(failed), "kind": "repair_failed", "replay_id": replay_id}
            )

    def entry(self, kind: str, index: int = 0, **having: Any) -> Entry:
        """The entry of this kind, of those that have these fields, so far down."""
        found = [
            one for one in self.entries if one.kind == kind and having.items() <= one.fields.items()
        ]
        return found[index]

    def drop(self, entry: Entry) -> None:
        self.entries.remove(entry)

    def move(self, entry: Entry, at: float) -> None:
        """Move the entry to another time."""
        self.entries[self.entries.index(entry)] = replace(entry, at=START + at)

    def history(self) -> History:
        """The history, in order, with every event observed at the end."""
        observed = [
            Entry(START + OBSERVED, "observed", {"event": event}) for event in self.events.values()
        ]
        return History(sorted([*self.entries, *observed], key=lambda entry: entry.at))


def wire(at: float) -> str:
    """Seconds from `START` as the contract writes an instant."""
    return (
        datetime.fromtimestamp(START + at, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def a_good_run() -> Run:
    """A run that keeps every rule, without any fault."""
    run = Run()
    run.receipt(0.0, 1)
    run.result(1.0, 1, "success")
    run.observe(1, at=0.0, timeout=60.0, state="applied")
    run.received(1, 1.01, "success")
    _add_a_repaired_order(run)
    _add_a_failing_order(run)
    run.receipt(0.3, 4, timeout=1800.0, status=None)
    run.receipt(0.5, 4, timeout=1800.0)
    run.observe(4, at=0.5, timeout=1800.0, state="waiting")
    run.note(90.0, "settled", seconds=3.0, outbox=0, stuck=[])
    return run


def _add_a_repaired_order(run: Run) -> None:
    run.receipt(0.1, 2, timeout=10.0)
    run.observe(2, at=0.1, timeout=10.0, state="recovered")
    run.open(2, 10.3, "missing_result", resolved=12.51)
    run.mail(10.6, 2, "Incident open")
    run.reprocess(12.0, 2)
    run.repair(2, 12.01, [12.15])
    run.callback(12.2, 2, 1)
    run.result(12.5, 2, "success", replay_id="rpl_2")
    run.received(2, 12.51, "success", "rpl_2")
    run.mail(12.8, 2, "Incident resolved")


def _add_a_failing_order(run: Run) -> None:
    run.receipt(0.2, 3)
    run.observe(3, at=0.2, timeout=60.0, state="incident")
    run.result(2.0, 3, "failed")
    run.received(3, 2.01, "failed")
    run.open(3, 2.01, "failed_result")
    run.mail(2.3, 3, "Incident open")
    run.reprocess(5.0, 3)
    run.repair(3, 5.01, [5.15, 6.15], failed=6.51)
    run.callback(5.2, 3, 1)
    run.callback(6.2, 3, 2)
    run.result(6.5, 3, "failed", replay_id="rpl_3")
    run.received(3, 6.51, "failed", "rpl_3")
    run.mail(6.8, 3, "Repair failed", replay_id="rpl_3")
