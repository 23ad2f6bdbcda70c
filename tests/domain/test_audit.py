"""The chain:

whatever one changes, takes out, adds or exchanges, the first entry that no longer fits is named.
"""

import itertools
from collections.abc import Iterator

import pytest

from domain.audit import (
    CLI,
    GENESIS,
    HASHED,
    Actor,
    AuditAction,
    Chain,
    Stored,
    chain_hash,
    details_text,
)

Row = dict[str, Stored]


def log() -> list[Row]:
    """Five entries whose columns are of every kind: numbers, text, text beyond ASCII, nothing."""
    rows: list[Row] = []
    for number, (actor, action) in enumerate(
        itertools.product(["usr_1", "cli:zoë"], [AuditAction.KEY_CREATED, AuditAction.SIGNED_OUT]),
        1,
    ):
        row: Row = {
            "sequence": number,
            "at": 1_795_435_200_000 + number,
            "actor": actor,
            "address": "192.0.2.7" if number % 2 else None,
            "request_id": f"req_{number}",
            "action": action.value,
            "subject_type": "key",
            "subject_id": None if number == 3 else f"key_{number}",
            "project_id": "prj_1",
            "details": details_text({"scopes": ["read"], "label": "ü"}),
            "previous_hash": rows[-1]["hash"] if rows else GENESIS,
        }
        rows.append({**row, "hash": chain_hash(row)})
    return rows


def first_problem(rows: list[Row]) -> tuple[int, str] | None:
    chain = Chain()
    for row in rows:
        if (problem := chain.follow(row)) is not None:
            return chain.sequence + 1, problem
    return None


def flipped(value: Stored) -> Iterator[Stored]:
    """Every tampered form of a stored value: one byte changed, or the value removed or added."""
    if value is None:
        yield from ("", "x", 0)
    elif isinstance(value, int):
        yield from (value ^ (1 << bit) for bit in range(48))
        yield None
    else:
        raw = value.encode()
        for index, bit in itertools.product(range(len(raw)), range(8)):
            changed = bytearray(raw)
            changed[index] ^= 1 << bit
            yield changed.decode(errors="surrogateescape")
        yield None


def test_log_as_it_was_written_fits() -> None:
    assert first_problem(log()) is None
    assert first_problem([]) is None


@pytest.mark.parametrize("column", [*HASHED, "hash"])
def test_one_changed_byte_of_any_column_of_any_row_is_found_at_that_row(column: str) -> None:
    whole = log()
    for number, row in enumerate(whole):
        for value in flipped(row[column]):
            changed = [*whole[:number], {**row, column: value}, *whole[number + 1 :]]

            found = first_problem(changed)

            assert found is not None, (number, value)
            assert found[0] == number + 1, (number, value, found)


@pytest.mark.parametrize(
    ("order", "broken", "problem"),
    [
        ((1, 2, 3), 1, "entry 1 is missing"),
        ((0, 3), 2, "entries 2 to 3 are missing"),
        ((0, 1, 1, 2, 3), 3, "not above"),
        ((0, 2, 1, 3), 2, "entry 2 is missing"),
    ],
    ids=["first", "two in the middle", "twice", "exchanged"],
)
def test_missing_added_and_exchanged_entries_are_found(
    order: tuple[int, ...], broken: int, problem: str
) -> None:
    whole = log()

    found = first_problem([whole[index] for index in order])

    assert found is not None
    assert found[0] == broken
    assert problem in found[1]


def test_entry_whose_hash_was_made_anew_breaks_the_next_one() -> None:
    whole = log()
    forged = {**whole[1], "actor": "usr_2"}
    forged["hash"] = chain_hash(forged)

    assert first_problem([whole[0], forged, *whole[2:]]) == (
        3,
        "it does not follow from the one before: one of the two was exchanged",
    )


def test_entry_that_records_damage_is_damage() -> None:
    (*_, last) = whole = log()
    entry: Row = {
        **last,
        "sequence": 5,
        "action": AuditAction.AUDIT_DAMAGE_FOUND.value,
        "previous_hash": last["hash"],
    }
    entry["hash"] = chain_hash(entry)

    found = first_problem([*whole, entry])

    assert found is not None
    assert found[0] == 5


def test_columns_cannot_flow_into_each_other() -> None:
    row = log()[0]

    assert chain_hash({**row, "actor": "usr_1a", "address": "b"}) != chain_hash(
        {**row, "actor": "usr_1", "address": "ab"}
    )
    assert chain_hash({**row, "address": None}) != chain_hash({**row, "address": "null"})


def test_timelines_name_the_command_line_without_its_user() -> None:
    assert Actor("cli:zoë").requested_by == CLI
    assert Actor("usr_1").requested_by == "usr_1"
