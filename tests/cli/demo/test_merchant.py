"""The demo merchant alone: refusals, one grant per repair, and pending work after a restart."""

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.commands.stripe_events import body_of, stripe_event, stripe_signature
from domain.security.signing import SigningSecrets, callback_headers
from tests.cli.receiver import Receiver, receiving
from tests.support.processes import ROOT, free_ports, python, running
from tests.support.waiting import wait_until

STRIPE_SECRET = "whsec_stripe"
SIGNING_SECRET = "whsec_" + base64.b64encode(b"the signing secret of the shop!!").decode()
PAID_AT = int(time.time())
ACCEPTED = {"accepted": True, "event_id": "evt_ours", "timeout_at": "2026-11-23T12:00:00.000Z"}

Open = Callable[..., AbstractContextManager[httpx.Client]]


@pytest.fixture
def makegood() -> Iterator[Receiver]:
    """A server in place of Makegood that accepts every request and records it."""
    with receiving() as receiver:
        receiver.status, receiver.answer = 202, ACCEPTED
        yield receiver


@pytest.fixture
def open_shop(makegood: Receiver, tmp_path: Path) -> Open:
    """Runs the shop on one database; keywords are further variables."""

    @contextmanager
    def opened(**variables: str) -> Iterator[httpx.Client]:
        port = free_ports(1)[0]
        environment = {
            "PYTHONPATH": str(ROOT / "sdks" / "python"),
            "MAKEGOOD_URL": makegood.url,
            "MAKEGOOD_API_KEY": "sk_test_key",
            "MAKEGOOD_SIGNING_SECRET": SIGNING_SECRET,
            "STRIPE_WEBHOOK_SECRET": STRIPE_SECRET,
            "MERCHANT_DB": str(tmp_path / "merchant.db"),
            "MERCHANT_PORT": str(port),
            **variables,
        }
        with (
            running(*python("-m", "examples.merchant"), environment=environment) as program,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
        ):

            def answers() -> bool:
                assert program.process.poll() is None, program.output
                try:
                    return client.get("/control").is_success
                except httpx.TransportError:
                    return False

            wait_until(answers, seconds=20, what="the shop answers")
            yield client

    return opened


def pay(shop: httpx.Client, *, event_id: str = "evt_stripe_1", secret: str = STRIPE_SECRET) -> int:
    """Stripe sends its event, or sends it again: what it says stays the same, its signature is new
    each time.
    """
    body = body_of(stripe_event("invoice.paid", reference="order-1", at=PAID_AT, event_id=event_id))
    headers = {"Stripe-Signature": stripe_signature(secret, body=body, at=int(time.time()))}
    return shop.post("/stripe/webhook", content=body, headers=headers).status_code


def signed(replay_id: str, **changes: Any) -> tuple[bytes, dict[str, str]]:
    return signed_with(replay_id, {}, **changes)


def signed_with(
    replay_id: str, facts: dict[str, str], **changes: Any
) -> tuple[bytes, dict[str, str]]:
    """A callback with these further facts."""
    known = {"replay_id": replay_id, "event_id": "evt_ours", "provider_event_id": "evt_stripe_1"}
    body = json.dumps({**known, **facts}).encode()
    values: dict[str, Any] = {
        "timestamp": int(time.time()),
        "nonce": secrets.token_hex(16),
        "attempt_number": 1,
    } | changes
    headers = callback_headers(
        secrets=SigningSecrets(SIGNING_SECRET), replay_id=replay_id, body=body, **values
    )
    return body, dict(headers)


def repair(shop: httpx.Client, body: bytes, headers: dict[str, str]) -> int:
    return shop.post("/makegood/repair", content=body, headers=headers).status_code


def results(makegood: Receiver) -> list[dict[str, Any]]:
    return [
        json.loads(request.body) for request in makegood.got if request.path == "/api/v1/result"
    ]


def test_payment_is_sent_granted_and_reported_once(makegood: Receiver, open_shop: Open) -> None:
    with open_shop() as shop:
        assert [pay(shop), pay(shop)] == [200, 200]

        wait_until(lambda: results(makegood), what="the result was reported")
        state = shop.get("/state").json()
    receipts = [request for request in makegood.got if request.path == "/api/v1/receipt"]
    assert {request.headers["idempotency-key"] for request in receipts} == {"receipt-evt_stripe_1"}
    assert len({request.body for request in receipts}) == 1
    assert [result["status"] for result in results(makegood)] == ["success"]
    assert [grant["reference"] for grant in state["grants"]] == ["order-1"]


def test_older_name_of_the_key_still_works(makegood: Receiver, open_shop: Open) -> None:
    with open_shop(MAKEGOOD_API_KEY="", MAKEGOOD_KEY="sk_test_older") as shop:
        assert pay(shop) == 200

    assert {request.headers["authorization"] for request in makegood.got} == {
        "Bearer sk_test_older"
    }


def test_forged_stripe_event_is_refused(makegood: Receiver, open_shop: Open) -> None:
    with open_shop() as shop:
        assert pay(shop, secret="whsec_forger") == 400

    assert makegood.got == []


def test_stripe_retries_the_event_when_the_receipt_is_refused(
    makegood: Receiver, open_shop: Open
) -> None:
    makegood.status, makegood.answer = 402, {"code": "subscription_required", "retryable": False}
    with open_shop() as shop:
        assert pay(shop) == 503
        makegood.status, makegood.answer = 202, ACCEPTED
        assert pay(shop) == 200
        wait_until(lambda: results(makegood), what="the result was reported")


def test_repair_is_done_and_reported_once_however_often_it_is_called(
    makegood: Receiver, open_shop: Open
) -> None:
    with open_shop(MERCHANT_FAULT="drop") as shop:
        pay(shop)
        for number in (1, 2, 3):
            assert repair(shop, *signed("rpl_1", attempt_number=number)) == 202
        wait_until(lambda: results(makegood), what="the repair was reported")
        repair(shop, *signed("rpl_2"))
        wait_until(lambda: len(results(makegood)) == 2, what="the second repair was reported")
        state = shop.get("/state").json()

    assert [(result["status"], result["replay_id"]) for result in results(makegood)] == [
        ("success", "rpl_1"),
        ("success", "rpl_2"),
    ]
    assert [grant["granted_by"] for grant in state["grants"]] == ["rpl_1"]


def test_moved_shop_answers_307_and_keeps_nothing(makegood: Receiver, open_shop: Open) -> None:
    with open_shop() as shop:
        shop.post("/control", json={"is_moved": True})

        assert pay(shop) == 307
        assert shop.get("/state").json()["orders"] == []
        shop.post("/control", json={"is_moved": False})
        assert pay(shop) == 200
        wait_until(lambda: results(makegood), what="the result was reported")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"reason": "missing_receipt"}, 202),
        ({"reason": "missing_result"}, 404),
        ({"reason": "missing_receipt", "event_type": "payout.paid"}, 404),
    ],
    ids=["never arrived", "of another shop", "of a type that it does not sell"],
)
def test_repair_of_an_event_that_never_arrived_is_done_from_the_callback(
    makegood: Receiver, open_shop: Open, changes: dict[str, str], status: int
) -> None:
    facts = {"event_type": "invoice.paid", "internal_reference": "order-1"}
    with open_shop() as shop:
        assert repair(shop, *signed_with("rpl_1", {**facts, **changes})) == status
        if status == 202:
            wait_until(lambda: results(makegood), what="the repair was reported")
        grants = shop.get("/state").json()["grants"]

    reported = [(one["stripe_event_id"], one["replay_id"]) for one in results(makegood)]
    assert reported == ([("evt_stripe_1", "rpl_1")] if status == 202 else [])
    assert [grant["reference"] for grant in grants] == (["order-1"] if status == 202 else [])


def test_callback_that_is_not_genuine_and_fresh_is_refused(
    makegood: Receiver, open_shop: Open
) -> None:
    with open_shop(MERCHANT_FAULT="drop") as shop:
        pay(shop)
        body, headers = signed("rpl_1")

        assert repair(shop, body + b" ", headers) == 401
        assert repair(shop, *signed("rpl_1", timestamp=int(time.time()) - 301)) == 401
        assert repair(shop, body, {}) == 401
        assert repair(shop, body, headers) == 202
        assert repair(shop, body, headers) == 401
        verdicts = [callback["verdict"] for callback in shop.get("/state").json()["callbacks"]]

    assert verdicts == [
        "bad_signature",
        "stale_timestamp",
        "missing_header",
        "verified",
        "replayed_nonce",
    ]


def test_nonce_is_remembered_and_owed_work_is_done_after_a_restart(
    makegood: Receiver, open_shop: Open
) -> None:
    with open_shop(MERCHANT_FAULT="late", MERCHANT_LATE_SECONDS="1") as shop:
        pay(shop)
        wait_until(lambda: shop.get("/state").json()["grants"], what="the effect was applied")
        body, headers = signed("rpl_1")
        repair(shop, body, headers)
    with open_shop() as shop:
        assert repair(shop, body, headers) == 401
        wait_until(lambda: len(results(makegood)) == 2, what="both results were reported")

    assert {result.get("replay_id") for result in results(makegood)} == {None, "rpl_1"}


def test_faults_are_switched_over_http(makegood: Receiver, open_shop: Open) -> None:
    with open_shop() as shop:
        shop.post("/control", json={"fault": "fail", "timeout_minutes": 0.5})
        pay(shop)
        wait_until(lambda: results(makegood), what="the failure was reported")

        assert shop.post("/control", json={"fault": "explode"}).status_code == 422
    assert results(makegood)[0]["error_code"] == "card_ledger_locked"
    assert json.loads(makegood.got[0].body)["timeout_minutes"] == 0.5
