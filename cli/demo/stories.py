"""The four stories of `makegood demo`: all well, a reported failure, a job that died without a word, and a late report.

Each sends a real signed Stripe event to the demo merchant, and then only watches; an operator's Reprocess is a REST call.
"""

import secrets
import time
from dataclasses import dataclass
from datetime import datetime

from cli.commands.stripe_events import body_of, stripe_event
from cli.demo.merchant import Merchant
from cli.demo.observer import Json, Watch
from cli.output import CommandFailed

USUAL_MINUTES = 0.5
SHORT_MINUTES = 0.03
LATE_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Who takes part: the merchant, and the one who watches."""

    merchant: Merchant
    watch: Watch


async def play_all(stage: Stage) -> None:
    """Every story, one after the other.

    Raises: CommandFailed at the first thing that does not happen.
    """
    await _all_well(stage)
    await _failed_and_repaired(stage)
    await _lost_and_repaired(stage)
    await _late(stage)


async def _all_well(stage: Stage) -> None:
    stage.watch.begin("All well: the effect is applied and reported in time")
    await stage.merchant.set_faults(fault="none", timeout_minutes=USUAL_MINUTES)
    event_id = await _pay(stage, "invoice.paid")
    await _in_state(stage, event_id, "applied")
    stage.watch.saw("success was reported; the receipt is applied, and nobody was disturbed")


async def _failed_and_repaired(stage: Stage) -> None:
    stage.watch.begin("Failed: the app says that it could not apply the effect")
    await stage.merchant.set_faults(fault="fail", timeout_minutes=USUAL_MINUTES)
    event_id = await _pay(stage, "checkout.session.completed")
    event = await _in_state(stage, event_id, "incident")
    incident = event["incident"]
    _must(incident["reason"] == "failed_result", "the incident's reason is failed_result")
    stage.watch.saw(f"the incident opened at once: {incident['reason']}, {incident['error_code']}")
    await _mailed(stage, event, "Incident open: ")
    await _reprocess(stage, event)


async def _lost_and_repaired(stage: Stage) -> None:
    stage.watch.begin("Lost: the job dies without a word")
    await stage.merchant.set_faults(fault="drop", timeout_minutes=SHORT_MINUTES)
    event_id = await _pay(stage, "checkout.session.completed")
    event = await _in_state(stage, event_id, "incident")
    incident = event["incident"]
    _must(incident["reason"] == "missing_result", "the incident's reason is missing_result")
    waited = (_instant(incident["opened_at"]) - _instant(event["deadline_at"])).total_seconds()
    _must(waited >= 0, "the incident did not open before its deadline")
    stage.watch.saw(f"no result came; the incident opened {waited:.3f} s after the deadline, never before: {incident['reason']}")
    await _mailed(stage, event, "Incident open: ")
    await _reprocess(stage, event)


async def _late(stage: Stage) -> None:
    stage.watch.begin("Late: the effect was applied, but the report comes after the deadline")
    await stage.merchant.set_faults(fault="late", late_seconds=LATE_SECONDS, timeout_minutes=SHORT_MINUTES)
    event_id = await _pay(stage, "customer.subscription.updated")
    await _in_state(stage, event_id, "incident")
    stage.watch.saw("the deadline passed and the incident opened")
    event = await _in_state(stage, event_id, "recovered")
    _must(event["incident"]["resolution"] == "late_result", "the resolution is late_result")
    stage.watch.saw("the late success came by itself and resolved the incident: late_result, no repair was needed")


async def _pay(stage: Stage, event_type: str) -> str:
    """A customer pays: Stripe's event reaches the merchant; the event id that Makegood gave the receipt."""
    from cli.commands.trigger import post_event

    reference, at = f"order-{secrets.token_hex(4)}", int(time.time())
    body = body_of(stripe_event(event_type, reference=reference, at=at))
    status = post_event(stage.merchant.webhook_url, secret=stage.merchant.stripe_secret, body=body, at=at)
    _must(status == 200, f"the merchant takes Stripe's event (it answered {status})")
    stage.watch.saw(f"{event_type} for {reference}: the merchant checked Stripe's signature and answered {status}")
    event_id = await stage.watch.until(lambda: stage.watch.event_of(reference), expected=f"the receipt of {reference}")
    stage.watch.saw(f"the receipt is on record: {event_id}")
    return event_id


async def _in_state(stage: Stage, event_id: str, state: str) -> Json:
    return await stage.watch.until(lambda: stage.watch.event_in(event_id, state), expected=f"{event_id} in state {state}")


async def _mailed(stage: Stage, event: Json, about: str) -> None:
    """The e-mail of that kind arrives, if mail goes where it can be read."""
    reference = event["internal_reference"]
    if stage.watch.mailbox is not None:
        look = stage.watch.subject_of_mail
        subject = await stage.watch.until(
            lambda: look(f"{about}{reference}", event["event_type"]), expected=f"an e-mail, {about}{reference}"
        )
        stage.watch.saw(f"the e-mail arrived: {subject}")


async def _reprocess(stage: Stage, event: Json) -> None:
    """An operator presses Reprocess; the merchant is called, applies the effect and says so."""
    incident_id, event_id = event["incident"]["id"], event["event_id"]
    replay_id = (await stage.watch.post(f"/api/v1/incidents/{incident_id}/reprocess"))["replay_id"]
    stage.watch.saw(f"Reprocess was pressed: {replay_id}")

    async def verified_callback() -> Json | None:
        rows = await stage.merchant.rows("callbacks", replay_id=replay_id, verdict="verified")
        return rows[0] if rows else None

    callback = await stage.watch.until(verified_callback, expected="a callback at the merchant whose signature holds")
    _must(callback["request"]["event_id"] == event_id, "the callback names the event")
    stage.watch.saw(f"the signed callback arrived at the merchant, attempt {callback['attempt']}; signature, time and nonce hold")
    recovered = await _in_state(stage, event_id, "recovered")
    repair = next(one for one in recovered["repairs"] if one["replay_id"] == replay_id)
    _must(repair["state"] == "succeeded", "the repair succeeded")
    _must(recovered["incident"]["state"] == "resolved", "the incident is resolved")
    grants = await stage.merchant.rows("grants", reference=event["internal_reference"])
    _must(len(grants) == 1 and grants[0]["granted_by"] == replay_id, "the merchant granted it once, for this repair")
    stage.watch.saw("the merchant granted what was paid for, once, and reported success with the replay_id: resolved")
    await _mailed(stage, event, "Incident resolved: ")


def _must(is_so: bool, expected: str) -> None:
    if not is_so:
        raise CommandFailed(f"the demo expected otherwise: {expected}")


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
