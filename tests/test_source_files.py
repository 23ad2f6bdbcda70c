"""How source files are built: their length, docstrings, folders, and no effect of an import."""

import ast

import pytest

from tests.support.source_files import PACKAGES, ROOT, called, parsed, sources

LONGEST_FILE, LONGEST_TEST, MOST_FILES = 300, 400, 15
MAY_BE_LONGER = {
    "store/schema/tables.py": "every table on one page",
    "store/migrations/versions/0001_the_first_tables.py": "frozen, as a migration is",
}


def test_no_folder_holds_more_than_a_reader_takes_in() -> None:
    folders = {
        path.parent
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "migrations" not in path.parts
    }
    counts = {path.relative_to(ROOT).as_posix(): len([*path.glob("*.py")]) - 1 for path in folders}

    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_package_files_say_what_lives_there_and_hold_no_code(package: str) -> None:
    files = [name for name in sources(package) if name.endswith("__init__.py")]

    assert files
    assert [
        name for name in files if not ast.get_docstring(parsed(name)) or len(parsed(name).body) > 1
    ] == []


def test_every_file_opens_with_what_it_is_for() -> None:
    files = sources(*PACKAGES)

    assert [name for name in files if not ast.get_docstring(parsed(name))] == []


@pytest.mark.parametrize(
    ("packages", "longest"),
    [(PACKAGES, LONGEST_FILE), (("tests",), LONGEST_TEST)],
    ids=["code", "tests"],
)
def test_files_are_not_too_long(packages: tuple[str, ...], longest: int) -> None:
    lengths = {
        name: len((ROOT / name).read_text(encoding="utf-8").splitlines())
        for name in sources(*packages)
    }

    assert {
        name: length
        for name, length in lengths.items()
        if length > longest and name not in MAY_BE_LONGER
    } == {}


def test_nothing_is_built_at_import() -> None:
    """A client, application or settings object at module level would make imports have effects."""
    built = {
        "FastAPI",
        "Settings",
        "load_settings",
        "AsyncClient",
        "create_app",
        "create_async_engine",
        "Database.open",
    }
    wrong = []
    for name in sources(*PACKAGES):
        for node in parsed(name).body:
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr):
                wrong += [(name, call) for call in called(node) if call in built]
    assert not wrong
