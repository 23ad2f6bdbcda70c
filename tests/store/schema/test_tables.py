"""Each table has one name for queries, given in `store/schema/tables.py`."""

import ast
from pathlib import Path

from store.schema import tables

ROOT = Path(__file__).parents[3]


def test_every_table_is_exported_under_its_name() -> None:
    exported = {name: getattr(tables, name.upper()) for name in tables.TABLES}

    assert exported == dict(tables.TABLES)


def test_no_other_module_names_a_table() -> None:
    """Neither by a look-up of its own, nor by an import from a module that imports it."""
    constants = {name.upper() for name in tables.TABLES} | {"TABLES"}
    wrong = set()
    for path in (ROOT / "store").rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        if name == "store/schema/tables.py" or "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Attribute(attr="tables", value=ast.Attribute(attr="metadata")):
                    wrong.add((name, ast.unparse(node)))
                case ast.ImportFrom(module=module) if module != "store.schema.tables":
                    taken = {alias.name for alias in node.names} & constants
                    wrong |= {(name, f"{module}.{one}") for one in taken}
    assert wrong == set()
