"""Ids and tokens are unique and have the wire's shape; ids sort by time of creation."""

import re
from collections.abc import Callable

import pytest

from domain.security.api_keys import looks_like_key
from store.crypto import tokens as minting


@pytest.mark.parametrize(
    ("create", "prefix"),
    [
        (minting.new_event_id, "evt"),
        (minting.new_incident_id, "inc"),
        (minting.new_replay_id, "rpl"),
        (minting.new_result_id, "res"),
        (minting.new_project_id, "prj"),
        (minting.new_key_id, "key"),
        (minting.new_user_id, "usr"),
        (minting.new_secret_id, "sec"),
    ],
    ids=["event", "incident", "repair", "result", "project", "key", "user", "secret"],
)
def test_ids_are_unique_ordered_and_of_the_wires_shape(
    create: Callable[[], str], prefix: str
) -> None:
    ids = [create() for _ in range(2_000)]

    assert len(set(ids)) == 2_000
    assert ids == sorted(ids)
    assert all(re.fullmatch(rf"{prefix}_[0-9a-f]{{32}}", one) for one in ids)


def test_secrets_are_never_the_same() -> None:
    for create in (
        minting.new_token,
        minting.new_signing_secret,
        lambda: minting.new_api_key(livemode=True),
    ):
        assert len({create() for _ in range(100)}) == 100
    assert looks_like_key(minting.new_api_key(livemode=False))


def test_digest_does_not_reveal_the_token() -> None:
    token = minting.new_token()

    assert len(token) >= 43
    assert (
        minting.token_digest(token)
        == minting.token_digest(token)
        != minting.token_digest(minting.new_token())
    )
    assert token not in minting.token_digest(token)
