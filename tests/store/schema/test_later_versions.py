"""No stored text of a later version makes a row unreadable, except where that is decided."""

import ast
from collections import Counter
from enum import StrEnum
from importlib import import_module
from pathlib import Path

import pytest

from domain.incidents import Reason
from domain.values.enums import member_or_text
from tests.support.source_files import ROOT

# What may read an enumeration strictly, and why.
STRICT = {
    ("store/receipts/attempts.py", "RepairCause"): "from a value of this version",
    ("store/receipts/early_results/hold.py", "ResultStatus"): "as in `results.py`",
    ("store/receipts/reconcile/queries.py", "ReceiptState"): "the query selects known states",
    ("store/receipts/results.py", "ResultStatus"): "the contract has two, and apps send them",
    ("store/receipts/state.py", "ReceiptState"): "nothing acts on a state that it does not know",
    ("store/receipts/state.py", "RepairState"): "nothing acts on a state that it does not know",
    ("store/receipts/transitions.py", "RepairState"): "from a value of this version",
    ("store/schema/mappers.py", "ShopifyIdentity"): "the queries select known identities",
    ("store/schema/mappers.py", "SourceKind"): "the queries select known kinds",
    ("store/schema/mappers.py", "ResultStatus"): "the contract has two, and apps send them",
}


def enumerations() -> set[str]:
    """The names of the enumerations of `domain`."""
    modules = [
        import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for path in (ROOT / "domain").rglob("*.py")
    ]
    return {
        name
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, StrEnum) and value is not StrEnum
    }


def strict_reads(path: Path, names: set[str]) -> Counter[tuple[str, str]]:
    """The calls of an enumeration in this file, such as `Reason(row.reason)`."""
    return Counter(
        (path.relative_to(ROOT).as_posix(), node.func.id)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    )


def test_stored_enumerations_are_read_by_member_or_text() -> None:
    names = enumerations()
    found: Counter[tuple[str, str]] = Counter()
    for path in (ROOT / "store").rglob("*.py"):
        found += strict_reads(path, names)

    assert {"Reason", "Role", "TimelineKind"} <= names
    assert set(found) == set(STRICT), "read it with `domain.values.enums.member_or_text`"


@pytest.mark.parametrize(
    ("stored", "read"), [("missing_result", Reason.MISSING_RESULT), ("of_later", "of_later")]
)
def test_text_without_a_member_stays(stored: str, read: Reason | str) -> None:
    found = member_or_text(Reason, stored)

    assert (found, type(found)) == (read, type(read))
