"""Only `store/receipts/transitions.py` writes the states of receipts, incidents and repairs.

Read off the syntax tree of every file of `store`; `tests/test_architecture.py` keeps queries there.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WRITER = "store/receipts/transitions.py"
# Their downgrades give rows a state that the earlier version knows.
DOWNGRADE = "store/migrations/versions/0018_expected_receipts.py"
DOWNGRADE_OF_HELD = "store/migrations/versions/0031_repair_of_many.py"
STATEFUL = {"receipts", "incidents", "repairs"}
# A table's name that is filled in may be any of the three.
UPDATE = re.compile(
    r"\bUPDATE\s+(?:ONLY\s+)?([\w{}.]+)\s+(?:AS\s+)?(?:\w+\s+)??SET\b(.*)", re.I | re.S
)
UPSERT = re.compile(r"\bINTO\s+([\w{}.]+)\b.*?\bDO\s+UPDATE\s+SET\b(.*)", re.I | re.S)
INSERT = re.compile(r"\bINSERT\s+INTO\s+(incidents|repairs)\b", re.I)
SETS_STATE = re.compile(r"(?:^|,)\s*(?:\w+\.)?state\s*=", re.I)


def writers() -> dict[str, set[str]]:
    """The files that write a state of each table; `?` is a table that the file does not spell."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "store").rglob("*.py")):
        for table in written_by(ast.parse(path.read_text(encoding="utf-8"))):
            found[table].add(path.relative_to(ROOT).as_posix())
    return dict(found)


def written_by(tree: ast.AST) -> Iterator[str]:
    """The tables of the three whose state or row the code writes."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)):
                yield from in_sql(text)
            case ast.JoinedStr():
                yield from in_sql(flat(node))
            case ast.Call(func=ast.Attribute(attr="values"), args=args, keywords=keywords):
                named = {keyword.arg for keyword in keywords} | set(keys(args))
                yield from {"?"} if "state" in named else ()
            case ast.Attribute(attr="state", ctx=ast.Store()):
                yield "?"


def in_sql(text: str) -> Iterator[str]:
    for statement in (UPDATE, UPSERT):
        for table, assignments in statement.findall(text):
            changed = re.split(r"\bWHERE\b|\bRETURNING\b", assignments, flags=re.I)[0]
            if SETS_STATE.search(changed) and ("{" in table or table in STATEFUL):
                yield "?" if "{" in table else table
    yield from INSERT.findall(text)


def flat(node: ast.JoinedStr) -> str:
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
    )


def keys(args: list[ast.expr]) -> Iterator[str]:
    """The keys of literal dictionaries: texts, and names of columns."""
    for given in args:
        for key in given.keys if isinstance(given, ast.Dict) else ():
            if isinstance(key, ast.Constant):
                yield str(key.value)
            elif isinstance(key, ast.Attribute):
                yield key.attr


def test_transitions_is_the_only_writer_of_states() -> None:
    expected = {table: {WRITER} for table in STATEFUL}
    expected["receipts"] |= {DOWNGRADE}
    for table in ("incidents", "repairs"):
        expected[table] |= {DOWNGRADE_OF_HELD}
    assert writers() == expected


@pytest.mark.parametrize(
    ("code", "table"),
    [
        ("sql = \"UPDATE receipts SET state = 'applied' WHERE event_id = $1\"", "receipts"),
        ('sql = "UPDATE incidents SET resolved_at = $1, state = $2 WHERE id = $3"', "incidents"),
        ("sql = f\"UPDATE repairs AS r SET state = '{new}' WHERE replay_id = $1\"", "repairs"),
        ('sql = f"UPDATE {table} SET state = $1"', "?"),
        ("sql = 'INSERT INTO repairs (state) VALUES ($1)'", "repairs"),
        (
            "sql = 'INSERT INTO receipts (event_id) VALUES ($1) ON CONFLICT (event_id)'"
            "' DO UPDATE SET state = excluded.state'",
            "receipts",
        ),
        ("update(RECEIPTS).values(state='closed')", "?"),
        ("update(RECEIPTS).values({'state': 'closed'})", "?"),
        ("update(RECEIPTS).values({RECEIPTS.c.state: 'closed'})", "?"),
        ("row.state = 'closed'", "?"),
    ],
)
def test_every_way_to_write_a_state_is_found(code: str, table: str) -> None:
    assert set(written_by(ast.parse(code))) == {table}


@pytest.mark.parametrize(
    "code",
    [
        "sql = \"UPDATE receipts SET deadline_at = $1 WHERE state = 'waiting'\"",
        "sql = \"UPDATE attempts SET state = 'finished' WHERE replay_id = $1\"",
        'sql = f"UPDATE {table} SET credited_outage = $1 WHERE event_id = $2"',
        "sql = 'SELECT state FROM receipts FOR UPDATE'",
        "update(PROJECTS).values(erased_at=now)",
    ],
)
def test_what_writes_no_state_is_not_taken_for_it(code: str) -> None:
    assert set(written_by(ast.parse(code))) == set()
