"""The pages for engineers name only files that exist, map every package folder, and are in the
index.
"""

import re
from pathlib import Path

import pytest

from tests.support.source_files import PACKAGES
from tests.test_architecture import INSIDE
from tests.test_docs import program

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    DOCS / "architecture.md",
    DOCS / "glossary.md",
    DOCS / "index.md",
    *sorted((DOCS / "how-to").glob("*.md")),
]
PLACES = {*PACKAGES, "bench", "docs", "examples", "sdks", "tests"}
# A path of the repository, in code quotes or in a diagram: a known folder, then names without
# blanks.
NAMED = re.compile(r"(?<![\w/.-])(?P<path>(?:\w+(?:/[\w.-]+)+)|\w+\.(?:py|md|yml))")


def named_paths(text: str) -> set[str]:
    """The paths that a page names in code quotes and Mermaid diagrams."""
    parts = re.findall(r"`([^`\n]+)`", text) + re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    found = {match["path"].rstrip(".") for part in parts for match in NAMED.finditer(part)}
    return {
        path for path in found if path.partition("/")[0] in PLACES or path.endswith((".md", ".yml"))
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_files_and_folders_that_a_page_names_exist(page: Path) -> None:
    paths = named_paths(page.read_text(encoding="utf-8"))

    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_package_map_has_a_row_for_every_folder() -> None:
    rows = re.findall(
        r"^\| `([\w/]+)` \|", (DOCS / "architecture.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    not_in_text = {row for row in INSIDE if row.startswith("cli/")}

    assert {*PACKAGES, *INSIDE, "store/migrations"} - not_in_text - set(rows) == set()


def test_picture_of_the_imports_is_drawn_from_the_code() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")

    drawn = program("make_imports").page_with_picture(page)

    assert set(program("make_imports").PACKAGES) == set(PACKAGES)
    assert page == drawn, "run .venv/bin/python docs/make_imports.py"


def test_index_links_to_every_page() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - {"index.md"}

    assert {
        page for page in pages if f"({page})" not in index and not page.startswith("decisions/")
    } == set()


def test_named_paths_are_found_in_quotes_and_diagrams() -> None:
    text = "`store/db` and `a/b`\n```mermaid\nparticipant E as api/main.py\n```\nworker/main.py"

    assert named_paths(text) == {"store/db", "api/main.py"}
