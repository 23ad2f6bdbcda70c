"""The shape of keys and signing secrets."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.security import api_keys as keys

KEY = keys.api_key_text(bytes(range(32)), livemode=False)


@given(st.binary(min_size=32, max_size=32), st.booleans())
def test_every_key_made_looks_like_one_and_says_its_mode(
    random_bytes: bytes, livemode: bool
) -> None:
    key = keys.api_key_text(random_bytes, livemode=livemode)

    assert keys.looks_like_key(key)
    assert key.startswith("sk_live_" if livemode else "sk_test_")
    assert len(key) == 57


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_different_bytes_make_different_keys(one: bytes, other: bytes) -> None:
    same = keys.api_key_text(one, livemode=False) == keys.api_key_text(other, livemode=False)

    assert same == (one == other)


@given(st.integers(8, 56), st.sampled_from("abcXYZ019"))
def test_one_wrong_character_is_noticed(position: int, character: str) -> None:
    changed = KEY[:position] + character + KEY[position + 1 :]

    assert keys.looks_like_key(changed) == (changed == KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sk_test_",
        KEY[:-1],
        KEY + "0",
        KEY.replace("test", "live"),
        f" {KEY}",
        f"{KEY}\n",
        "sk_test_" + "é" * 49,
    ],
    ids=["empty", "prefix", "cut", "longer", "other mode", "space", "newline", "not ascii"],
)
def test_what_is_not_a_key_does_not_look_like_one(text: str) -> None:
    assert not keys.looks_like_key(text)


def test_a_hint_shows_prefix_and_last_four_characters() -> None:
    assert keys.hint_of(KEY) == f"sk_test_…{KEY[-4:]}"


def test_a_digest_depends_on_key_and_pepper() -> None:
    other = keys.api_key_text(bytes(32), livemode=False)
    digests = {
        keys.key_digest(key, pepper=pepper) for key in (KEY, other) for pepper in (b"one", b"two")
    }

    assert len(digests) == 4
    assert all(len(digest) == 64 for digest in digests)


def test_a_signing_secret_is_spelled_as_standard_webhooks_does() -> None:
    secret = keys.signing_secret_text(bytes(range(32)))

    assert secret.startswith("whsec_")
    assert base64.b64decode(secret.removeprefix("whsec_"), validate=True) == bytes(range(32))
