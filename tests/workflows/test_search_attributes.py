"""The search attributes are spelled once. Their names and types are what people search for."""

import ast
import re
from pathlib import Path

from temporalio.common import SearchAttributeIndexedValueType

from worker.temporal.search_attributes import SEARCH_ATTRIBUTES
from workflows.search_attributes import SEARCH_ATTRIBUTE_KEYS

ROOT = Path(__file__).parents[2]
KEYWORD, DATETIME = (
    SearchAttributeIndexedValueType.KEYWORD,
    SearchAttributeIndexedValueType.DATETIME,
)
NAME = re.compile(r"\bMg[A-Z][A-Za-z]+\b")


def test_names_and_types_in_order_of_priority() -> None:
    types = [
        (key.name, SearchAttributeIndexedValueType(key.indexed_value_type))
        for key in SEARCH_ATTRIBUTE_KEYS
    ]

    assert types == [
        ("MgState", KEYWORD),
        ("MgIncidentId", KEYWORD),
        ("MgProject", KEYWORD),
        ("MgDeadline", DATETIME),
        ("MgProviderEventId", KEYWORD),
        ("MgEventType", KEYWORD),
        ("MgMode", KEYWORD),
        ("MgProvider", KEYWORD),
        ("MgEffect", KEYWORD),
    ]
    assert {name: int(value) for name, value in types} == SEARCH_ATTRIBUTES


def test_no_other_file_spells_a_name() -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for package in ("activities", "cli", "domain", "operations", "store", "worker", "workflows")
        for path in (ROOT / package).rglob("*.py")
        if any(NAME.fullmatch(word) for text in texts(path) for word in re.split(r"\W", text))
    }

    assert files == {"workflows/search_attributes.py"}


def test_docs_name_only_attributes_that_exist() -> None:
    named = {
        name
        for page in (ROOT / "docs").rglob("*.md")
        for name in NAME.findall(page.read_text(encoding="utf-8"))
    }

    assert "MgState" in named
    assert named <= set(SEARCH_ATTRIBUTES)


def texts(path: Path) -> list[str]:
    """The strings of a file that are not docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, documented)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value not in docstrings
    ]
