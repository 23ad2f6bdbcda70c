"""Reads the source: the files of packages, their imports and their calls."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGES = (
    "config",
    "domain",
    "egress",
    "store",
    "operations",
    "activities",
    "workflows",
    "worker",
    "api",
    "cli",
)


def sources(*packages: str) -> list[str]:
    return [
        path.relative_to(ROOT).as_posix()
        for package in packages
        for path in sorted((ROOT / package).rglob("*.py"))
    ]


def parsed(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), filename=name)


def imports(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each module that is imported, anywhere in the file, with the names taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or "", tuple(alias.name for alias in node.names)


def called(tree: ast.AST) -> Iterator[str]:
    """What is called, dotted as it is written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
