import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stripe import SignatureVerificationError, WebhookSignature

from domain.sources.signatures import (
    STRIPE_TOLERANCE,
    SignatureCheck,
    verify_shopify,
    verify_stripe,
)

SECRET = "whsec_of_the_endpoint"
OTHER = "whsec_of_another"
BODY = '{"id": "evt_1", "text": "ünïcode"}'
NOW = datetime(2026, 11, 29, 15, 0, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
bodies = st.text(st.characters(exclude_categories=["Cs"]))
texts = st.text()


def signed(body: str = BODY, *, secret: str = SECRET, seconds: int = SECONDS) -> str:
    return WebhookSignature.generate_signature_header(body, secret, timestamp=seconds)


def shopify_signature(body: bytes, secret: str) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()


@given(bodies, st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_what_the_package_of_stripe_signs_is_genuine(body: str, secret: str) -> None:
    check = verify_stripe(signed(body, secret=secret), body.encode(), [secret], NOW)

    expected = SignatureCheck.GENUINE if secret.strip() else SignatureCheck.WRONG
    assert check is expected


@given(
    st.lists(
        st.sampled_from(
            ["v1=" + "0" * 64, "v0=abc", "v1=", "v2", "t=12", "t=", "", "=", "é=", " v1=a"]
        )
        | st.just(signed().split(",")[0])
        | st.just(signed().split(",")[1])
    )
)
def test_every_header_gets_the_verdict_of_the_package_of_stripe(items: list[str]) -> None:
    header = ",".join(items)
    try:
        WebhookSignature.verify_header(BODY, header, SECRET)
        is_genuine = True
    except SignatureVerificationError:
        is_genuine = False

    check = verify_stripe(header, BODY.encode(), [SECRET], NOW)

    assert bool(check) is is_genuine


@pytest.mark.parametrize("item", ["v1", "v1=é", "v1=a=b"])
def test_an_odd_signature_beside_a_good_one_changes_nothing(item: str) -> None:
    """The package of Stripe breaks on the first two, which Stripe never sends."""
    assert verify_stripe(f"{signed()},{item}", BODY.encode(), [SECRET], NOW)


@given(texts, st.binary(), st.lists(texts))
def test_any_header_of_stripe_is_judged_without_an_error(
    header: str, body: bytes, secrets: list[str]
) -> None:
    assert not verify_stripe(header, body, secrets, NOW)


@given(texts, st.binary(), texts)
def test_any_header_of_shopify_is_judged_without_an_error(
    header: str, body: bytes, secret: str
) -> None:
    assert not verify_shopify(header, body, secret)


def test_one_of_several_v1_signatures_is_enough() -> None:
    old, new = signed(secret=OTHER), signed()
    header = f"{old},{new.split(',')[1]}"

    assert verify_stripe(header, BODY.encode(), [SECRET], NOW)
    assert verify_stripe(header, BODY.encode(), [OTHER], NOW)


def test_one_of_several_secrets_is_enough() -> None:
    assert verify_stripe(signed(), BODY.encode(), [OTHER, SECRET], NOW)


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(0), SignatureCheck.GENUINE),
        (STRIPE_TOLERANCE, SignatureCheck.GENUINE),
        (STRIPE_TOLERANCE + timedelta(seconds=1), SignatureCheck.STALE),
        (timedelta(days=-365), SignatureCheck.GENUINE),
    ],
    ids=["now", "at the limit", "past the limit", "of the future"],
)
def test_the_tolerance_is_that_of_stripe(age: timedelta, expected: SignatureCheck) -> None:
    header = signed(seconds=int((NOW - age).timestamp()))

    assert verify_stripe(header, BODY.encode(), [SECRET], NOW) is expected


@pytest.mark.parametrize(
    ("header", "body", "secrets", "expected"),
    [
        (None, BODY, [SECRET], SignatureCheck.MISSING),
        ("", BODY, [SECRET], SignatureCheck.MISSING),
        (f"t={SECONDS}", BODY, [SECRET], SignatureCheck.MISSING),
        (signed().replace("t=", "u="), BODY, [SECRET], SignatureCheck.MISSING),
        (f"t={'9' * 5000},v1=a", BODY, [SECRET], SignatureCheck.MISSING),
        (signed().replace("v1=", "v0="), BODY, [SECRET], SignatureCheck.MISSING),
        (signed(), BODY + " ", [SECRET], SignatureCheck.WRONG),
        (signed(), BODY, [OTHER], SignatureCheck.WRONG),
        (signed(), BODY, [], SignatureCheck.WRONG),
        (signed(secret="x"), BODY, ["", " "], SignatureCheck.WRONG),
    ],
    ids=[
        "no header",
        "empty",
        "no signature",
        "no timestamp",
        "endless timestamp",
        "old scheme only",
        "changed body",
        "another secret",
        "no secret",
        "blank secrets",
    ],
)
def test_a_signature_that_does_not_fit_is_refused(
    header: str | None, body: str, secrets: list[str], expected: SignatureCheck
) -> None:
    check = verify_stripe(header, body.encode(), secrets, NOW)

    assert check is expected
    assert not check


def test_a_body_signed_with_an_empty_key_is_refused() -> None:
    digest = hmac.digest(b"", f"{SECONDS}.{BODY}".encode(), hashlib.sha256).hex()

    assert not verify_stripe(f"t={SECONDS},v1={digest}", BODY.encode(), [""], NOW)
    assert not verify_shopify(shopify_signature(b"{}", ""), b"{}", "")


@given(st.binary(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_shopify_signs_the_raw_body_in_base64(body: bytes, secret: str) -> None:
    header = shopify_signature(body, secret)

    assert bool(verify_shopify(header, body, secret)) is bool(secret.strip())
    assert not verify_shopify(header, body + b" ", secret)
    assert not verify_shopify(header, body, secret + "x")
    assert verify_shopify(None, body, secret) is SignatureCheck.MISSING


def test_the_example_of_shopify_verifies() -> None:
    # The digest was made with `openssl dgst -sha256 -hmac hush -binary | base64`.
    body = b'{"id":820982911946154508}'

    assert verify_shopify("qBvrsZF7RfB1iS6BX6IHqJTp5L911P7intnPeTPsH0I=", body, "hush")
