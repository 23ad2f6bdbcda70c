"""A sealed value opens only for its own table, column and row, and only with its root secret."""

from typing import Any

import pytest

from store.crypto.encryption import SealBroken, Sealer

SECRET = "a root secret of more than thirty-two characters"
PLACE: dict[str, Any] = {
    "project_id": "prj_1",
    "table": "signing_secrets",
    "column": "sealed",
    "row": "sec_1",
}


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(SECRET)


def test_sealed_value_opens(sealer: Sealer) -> None:
    data_key = sealer.current.new_data_key("prj_1")

    sealed = sealer.seal(data_key, **PLACE, plaintext=b"whsec_x")

    assert Sealer(SECRET).open(data_key, **PLACE, sealed=sealed) == b"whsec_x"
    assert b"whsec_x" not in sealed


def test_same_text_is_sealed_differently_each_time(sealer: Sealer) -> None:
    data_key = sealer.current.new_data_key("prj_1")

    assert len({sealer.seal(data_key, **PLACE, plaintext=b"x") for _ in range(10)}) == 10


@pytest.mark.parametrize("part", ["table", "column", "row"])
def test_sealed_value_opens_for_no_other_location(sealer: Sealer, part: str) -> None:
    data_key = sealer.current.new_data_key("prj_1")
    sealed = sealer.seal(data_key, **PLACE, plaintext=b"x")

    with pytest.raises(SealBroken):
        sealer.open(data_key, **(PLACE | {part: "another"}), sealed=sealed)


def test_locations_that_join_to_the_same_text_differ(sealer: Sealer) -> None:
    data_key = sealer.current.new_data_key("prj_1")
    sealed = sealer.seal(
        data_key, project_id="prj_1", table="ab", column="c", row="d", plaintext=b"x"
    )

    with pytest.raises(SealBroken):
        sealer.open(data_key, project_id="prj_1", table="a", column="bc", row="d", sealed=sealed)


def test_data_key_of_another_project_does_not_open_it(sealer: Sealer) -> None:
    sealed = sealer.seal(sealer.current.new_data_key("prj_1"), **PLACE, plaintext=b"x")

    with pytest.raises(SealBroken):
        sealer.open(
            sealer.current.new_data_key("prj_2"), **(PLACE | {"project_id": "prj_2"}), sealed=sealed
        )


def test_data_key_works_only_for_its_own_project(sealer: Sealer) -> None:
    with pytest.raises(SealBroken):
        sealer.seal(sealer.current.new_data_key("prj_2"), **PLACE, plaintext=b"x")


def test_another_root_secret_opens_nothing_and_gives_other_digests(sealer: Sealer) -> None:
    other = Sealer("another root secret of more than thirty-two characters")
    data_key = sealer.current.new_data_key("prj_1")
    sealed = sealer.seal(data_key, **PLACE, plaintext=b"x")

    with pytest.raises(SealBroken):
        other.open(data_key, **PLACE, sealed=sealed)
    assert (
        other.key_digest("sk_test_x")
        != sealer.key_digest("sk_test_x")
        == Sealer(SECRET).key_digest("sk_test_x")
    )


@pytest.mark.parametrize("position", [0, 1, 12, 13, -1])
def test_changed_byte_is_noticed(sealer: Sealer, position: int) -> None:
    data_key = sealer.current.new_data_key("prj_1")
    sealed = bytearray(sealer.seal(data_key, **PLACE, plaintext=b"x"))
    sealed[position] ^= 1

    with pytest.raises(SealBroken):
        sealer.open(data_key, **PLACE, sealed=bytes(sealed))


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x01" + bytes(12), b"\x01" + bytes(20)])
def test_truncated_value_is_broken(sealer: Sealer, sealed: bytes) -> None:
    with pytest.raises(SealBroken):
        sealer.open(sealer.current.new_data_key("prj_1"), **PLACE, sealed=sealed)
