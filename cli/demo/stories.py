"""The five stories of `makegood demo`: success, a reported failure, a lost job, a late result, and
an event that never arrived.

Each sends a signed Stripe event to the demo merchant and then observes. Reprocess is a REST call.
"""

import math
import secrets
import time
from dataclasses import dataclass
from datetime import datetime

from cli.commands.stripe_events import body_of, stripe_event
from cli.commands.trigger import post_event
from cli.demo.merchant import Merchant
from cli.demo.observer import Json, Observer
from cli.demo.provider import DemoStripe
from cli.output import CommandFailed

LONG_MINUTES = 0.5
SHORT_MINUTES = 0.03
LATE_SECONDS = 4.0
SEEN_TYPE = "invoice.paid"


@dataclass(frozen=True, slots=True)
class Stage:
    """The merchant and the observer of a story.

    `stripe` is what the instance's sources list. None: they list the real Stripe.
    """

    merchant: Merchant
    observer: Observer
    stripe: DemoStripe | None


async def run_stories(stage: Stage) -> None:
    """Run every story in order.

    Raises: CommandFailed at the first step that does not happen.
    """
    await _success(stage)
    await _failure(stage)
    await _lost_job(stage)
    await _late_result(stage)
    await _never_arrived(stage)


async def _success(stage: Stage) -> None:
    stage.observer.begin_story("Success: the effect is applied and reported in time")
    await stage.merchant.set_faults(fault="none", timeout_minutes=LONG_MINUTES)
    event_id = await _pay(stage, "invoice.paid")
    await _in_state(stage, event_id, "applied")
    stage.observer.record_step(
        "success was reported; the receipt is applied, and no alert was sent"
    )


async def _failure(stage: Stage) -> None:
    stage.observer.begin_story("Failure: the app reports that it could not apply the effect")
    await stage.merchant.set_faults(fault="fail", timeout_minutes=LONG_MINUTES)
    event_id = await _pay(stage, "checkout.session.completed")
    event = await _in_state(stage, event_id, "incident")
    incident = event["incident"]
    _expect(incident["reason"] == "failed_result", "the incident's reason is failed_result")
    stage.observer.record_step(
        f"the incident opened at once: {incident['reason']}, {incident['error_code']}"
    )
    await _expect_mail(stage, event, "Review and reprocess")
    await _reprocess(stage, event)


async def _lost_job(stage: Stage) -> None:
    stage.observer.begin_story("Lost job: the job dies without reporting a result")
    await stage.merchant.set_faults(fault="drop", timeout_minutes=SHORT_MINUTES)
    event_id = await _pay(stage, "checkout.session.completed")
    event = await _in_state(stage, event_id, "incident")
    incident = event["incident"]
    _expect(incident["reason"] == "missing_result", "the incident's reason is missing_result")
    waited = (
        _parse_instant(incident["opened_at"]) - _parse_instant(event["deadline_at"])
    ).total_seconds()
    _expect(waited >= 0, "the incident did not open before its deadline")
    stage.observer.record_step(
        f"no result came; the incident opened {waited:.3f} s after the deadline, never before:"
        f" {incident['reason']}"
    )
    await _expect_mail(stage, event, "Review and reprocess")
    await _reprocess(stage, event)


async def _late_result(stage: Stage) -> None:
    stage.observer.begin_story(
        "Late result: the effect was applied, but the result comes after the deadline"
    )
    await stage.merchant.set_faults(
        fault="late", late_seconds=LATE_SECONDS, timeout_minutes=SHORT_MINUTES
    )
    event_id = await _pay(stage, "customer.subscription.updated")
    await _in_state(stage, event_id, "incident")
    stage.observer.record_step("the deadline passed and the incident opened")
    event = await _in_state(stage, event_id, "recovered")
    _expect(event["incident"]["resolution"] == "late_result", "the resolution is late_result")
    stage.observer.record_step(
        "the late success resolved the incident: late_result; no repair was needed"
    )


async def _never_arrived(stage: Stage) -> None:
    stage.observer.begin_story(
        "Never arrived: the shop's address moved and answers 307, so no receipt tells of the event"
    )
    await stage.merchant.set_faults(fault="none", is_moved=True)
    source = await _add_source(stage)
    reference, at = f"order-{secrets.token_hex(4)}", await _second_after(stage, source)
    event = stripe_event(SEEN_TYPE, reference=reference, at=at)
    status = _deliver(stage.merchant.webhook_url, stage.merchant.stripe_secret, event)
    _expect(status == 307, f"the moved endpoint answers 307 (it answered {status})")
    stage.observer.record_step(
        f"{SEEN_TYPE} for {reference}: the shop answered {status}, and Stripe follows no redirect"
    )
    await _show_to_source(stage, source, event)
    event_id = await stage.observer.wait_for(
        lambda: stage.observer.event_of(reference), expected=f"{reference} seen at the provider"
    )
    stage.observer.record_step(f"the source saw the event at the provider: {event_id} is expected")
    seen = await _in_state(stage, event_id, "incident")
    _expect(seen["incident"]["reason"] == "missing_receipt", "the reason is missing_receipt")
    _expect(seen["sources"][0]["source_id"] == source["id"], "the event names the source")
    stage.observer.record_step("no receipt came; the incident opened: missing_receipt")
    await _expect_mail(stage, seen, "Review and reprocess")
    await _reprocess(stage, seen)


async def _add_source(stage: Stage) -> Json:
    """Add a source that waits for the receipts of one type of event; returns it as REST does."""
    expects = {
        "event_type": SEEN_TYPE,
        "effect_type": "credit_grant",
        "within_minutes": SHORT_MINUTES,
        "reference": "/data/object/metadata/reference",
    }
    kind: Json = {"kind": "stripe_webhook", "signing_secret": stage.merchant.stripe_secret}
    if stage.stripe is not None:
        kind = {"kind": "stripe_api", "api_key": stage.stripe.restricted_key}
    content = {"name": "Demo", "expects": [expects], **kind}
    source = await stage.observer.post("/api/v1/sources", content)
    how = "lists the events" if stage.stripe is not None else "gets a copy of each event"
    stage.observer.record_step(f"a source of kind {source['kind']} {how} at the provider")
    return source


async def _second_after(stage: Stage, source: Json) -> int:
    """The first whole second after the source was added: an older event makes nothing."""
    second = math.ceil(_parse_instant(source["created_at"]).timestamp())

    async def has_begun() -> bool | None:
        return time.time() >= second or None

    await stage.observer.wait_for(has_begun, expected="the next second")
    return second


async def _show_to_source(stage: Stage, source: Json, event: Json) -> None:
    """Let the source learn of the event: by its next listing, or by a delivery of its own."""
    if stage.stripe is None:
        base = str(stage.observer.client.base_url).rstrip("/")
        hook_url = f"{base}{source['hook_path']}"
        status = _deliver(hook_url, stage.merchant.stripe_secret, event)
        _expect(status == 200, f"the source takes the event (it answered {status})")
        return
    stage.stripe.add_event(event)
    checked = await stage.observer.post(f"/api/v1/sources/{source['id']}/check")
    _expect(checked["ok"], f"the source reads the provider's events: {checked['detail']}")


def _deliver(url: str, secret: str, event: Json) -> int:
    """Deliver the event as Stripe does; returns the HTTP status."""
    at = int(time.time())
    return post_event(url, secret=secret, body=body_of(dict(event)), at=at)


async def _pay(stage: Stage, event_type: str) -> str:
    """Send a Stripe event to the merchant; returns the event id of its receipt."""
    reference = f"order-{secrets.token_hex(4)}"
    event = stripe_event(event_type, reference=reference, at=int(time.time()))
    status = _deliver(stage.merchant.webhook_url, stage.merchant.stripe_secret, event)
    _expect(status == 200, f"the merchant accepts Stripe's event (it answered {status})")
    stage.observer.record_step(
        f"{event_type} for {reference}: the merchant verified Stripe's signature and answered"
        f" {status}"
    )
    event_id = await stage.observer.wait_for(
        lambda: stage.observer.event_of(reference), expected=f"the receipt of {reference}"
    )
    stage.observer.record_step(f"the receipt is stored: {event_id}")
    return event_id


async def _in_state(stage: Stage, event_id: str, state: str) -> Json:
    return await stage.observer.wait_for(
        lambda: stage.observer.event_in(event_id, state), expected=f"{event_id} in state {state}"
    )


async def _expect_mail(stage: Stage, event: Json, words: str) -> None:
    """Wait for the e-mail of the event that has these words, if the mailbox is readable."""
    reference = event["internal_reference"]
    if stage.observer.mailbox is not None:
        find_mail = stage.observer.subject_of_mail
        subject = await stage.observer.wait_for(
            lambda: find_mail(words, reference, event["event_type"]),
            expected=f"an e-mail about {reference}, {words}",
        )
        stage.observer.record_step(f"the e-mail arrived: {subject}")


async def _reprocess(stage: Stage, event: Json) -> None:
    """Reprocess the incident; the merchant is called, applies the effect and reports success."""
    incident_id, event_id = event["incident"]["id"], event["event_id"]
    replay_id = (await stage.observer.post(f"/api/v1/incidents/{incident_id}/reprocess"))[
        "replay_id"
    ]
    stage.observer.record_step(f"Reprocess was requested: {replay_id}")

    async def verified_callback() -> Json | None:
        rows = await stage.merchant.rows("callbacks", replay_id=replay_id, verdict="verified")
        return rows[0] if rows else None

    callback = await stage.observer.wait_for(
        verified_callback, expected="a callback at the merchant with a valid signature"
    )
    _expect(callback["request"]["event_id"] == event_id, "the callback names the event")
    stage.observer.record_step(
        f"the signed callback arrived at the merchant, attempt {callback['attempt']}; signature,"
        " timestamp and nonce are valid"
    )
    recovered = await _in_state(stage, event_id, "recovered")
    repair = next(repair for repair in recovered["repairs"] if repair["replay_id"] == replay_id)
    _expect(repair["state"] == "succeeded", "the repair succeeded")
    _expect(recovered["incident"]["state"] == "resolved", "the incident is resolved")
    grants = await stage.merchant.rows("grants", reference=event["internal_reference"])
    _expect(
        len(grants) == 1 and grants[0]["granted_by"] == replay_id,
        "the merchant granted it once, for this repair",
    )
    stage.observer.record_step(
        "the merchant granted what was paid for, once, and reported success with the replay_id:"
        " resolved"
    )
    await _expect_mail(stage, event, "Resolved (")


def _expect(is_so: bool, expected: str) -> None:
    if not is_so:
        raise CommandFailed(f"the demo expected: {expected}")


def _parse_instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
