"""Ids and tokens are unique and have the wire's shape; ids sort by time of creation."""

import re
from collections.abc import Callable

import pytest

from domain.security.api_keys import looks_like_key
from store.crypto import tokens


@pytest.mark.parametrize(
    ("create", "prefix"),
    [
        (tokens.new_event_id, "evt"),
        (tokens.new_incident_id, "inc"),
        (tokens.new_replay_id, "rpl"),
        (tokens.new_result_id, "res"),
        (tokens.new_project_id, "prj"),
        (tokens.new_key_id, "key"),
        (tokens.new_user_id, "usr"),
        (tokens.new_secret_id, "sec"),
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
        tokens.new_token,
        tokens.new_signing_secret,
        lambda: tokens.new_api_key(livemode=True),
    ):
        assert len({create() for _ in range(100)}) == 100
    assert looks_like_key(tokens.new_api_key(livemode=False))


def test_digest_does_not_reveal_the_token() -> None:
    token = tokens.new_token()

    assert len(token) >= 43
    assert (
        tokens.token_digest(token)
        == tokens.token_digest(token)
        != tokens.token_digest(tokens.new_token())
    )
    assert token not in tokens.token_digest(token)
