"""Imports stand at the top of a file, but for those of the command line's lazy groups."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "package",
    ["activities", "config", "domain", "egress", "operations", "store", "worker", "workflows"],
)
def test_no_function_imports(package: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT).as_posix()}:{node.lineno}"
        for path in (ROOT / package).rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }

    assert wrong == set()
