import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from domain.security.signing import (
    MalformedSecret,
    SigningSecrets,
    callback_headers,
    sign,
    sign_standard,
)

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "sdks" / "vectors" / "signing.json").read_text()
)["cases"]
CURRENT = "whsec_" + base64.b64encode(b"the secret in force now, 32 bytes").decode()
NEXT = "whsec_" + base64.b64encode(b"the secret that follows").decode()
NONCE = "0123456789abcdef" * 2


def headers_of(
    secrets: SigningSecrets, *, body: bytes = b"{}", timestamp: int | None = None
) -> dict[str, str]:
    pairs = callback_headers(
        secrets=secrets,
        replay_id="rpl_1",
        attempt_number=2,
        timestamp=timestamp if timestamp is not None else int(datetime.now(UTC).timestamp()),
        nonce=NONCE,
        body=body,
    )
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_headers_are_those_of_the_vectors(vector: dict[str, Any]) -> None:
    pairs = callback_headers(
        secrets=SigningSecrets(vector["secret"], vector["next_secret"]),
        replay_id=vector["replay_id"],
        attempt_number=vector["attempt"],
        timestamp=vector["timestamp"],
        nonce=vector["nonce"],
        body=vector["body"].encode(),
    )

    assert dict(pairs) == vector["headers"]
    assert [name for name, _ in pairs] == list(vector["headers"])


def test_signature_is_keyed_with_the_text_of_the_secret() -> None:
    expected = hmac.new(
        CURRENT.encode(), b"17." + NONCE.encode() + b".body\xff", hashlib.sha256
    ).hexdigest()

    assert sign(CURRENT, timestamp=17, nonce=NONCE, body=b"body\xff") == expected


@pytest.mark.parametrize("receiver", [CURRENT, NEXT], ids=["old secret", "new secret"])
def test_standard_webhooks_library_accepts_either_secret_of_a_rotation(receiver: str) -> None:
    headers = headers_of(SigningSecrets(CURRENT, NEXT), body=b'{"a":"\xc3\xa9"}')

    assert Webhook(receiver).verify(b'{"a":"\xc3\xa9"}', headers) == {"a": "é"}


def test_standard_webhooks_library_rejects_another_body() -> None:
    headers = headers_of(SigningSecrets(CURRENT))

    with pytest.raises(WebhookVerificationError):
        Webhook(CURRENT).verify(b"{ }", headers)


@given(
    body=st.text().map(str.encode),
    timestamp=st.integers(0, 2**33),
    key=st.binary(min_size=1, max_size=64),
)
def test_standard_signature_agrees_with_the_library(
    body: bytes, timestamp: int, key: bytes
) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()

    ours = sign_standard(secret, message_id="rpl_1", timestamp=timestamp, body=body)

    assert ours == Webhook(secret).sign(
        "rpl_1", datetime.fromtimestamp(timestamp, UTC), body.decode()
    )


def test_next_signature_is_absent_outside_a_rotation() -> None:
    assert "X-SendPromptly-Signature-Next" not in headers_of(SigningSecrets(CURRENT))


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_é", "whsec_a", "c2VjcmV0", "whsec_c2Vj cmV0"]
)
def test_malformed_secret_is_refused_without_being_quoted(secret: str) -> None:
    with pytest.raises(MalformedSecret) as refusal:
        headers_of(SigningSecrets(CURRENT, secret))

    assert str(refusal.value) == "a signing secret is whsec_ followed by base64"


@pytest.mark.parametrize("nonce", ["", "0" * 31, "0" * 33, "A" * 32, "0" * 31 + "\n"])
def test_nonce_of_another_shape_is_refused(nonce: str) -> None:
    with pytest.raises(ValueError, match="32 lowercase hex"):
        callback_headers(
            secrets=SigningSecrets(CURRENT),
            replay_id="r",
            attempt_number=1,
            timestamp=1,
            nonce=nonce,
            body=b"",
        )


def test_secrets_do_not_show_in_their_repr() -> None:
    assert "whsec" not in repr(SigningSecrets(CURRENT, NEXT))
