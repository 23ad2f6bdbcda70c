"""Draws which package imports which, from the code, into `docs/architecture.md`.

Run it with `.venv/bin/python docs/make_imports.py`. A test fails if the page is not up to date.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PAGE = DOCS / "architecture.md"
BEGIN, END = "<!-- imports: begin -->", "<!-- imports: end -->"
PACKAGES = (
    "cli",
    "api",
    "worker",
    "workflows",
    "activities",
    "operations",
    "store",
    "egress",
    "config",
    "domain",
)
# Alembic runs the migrations; nothing imports them.
NOT_DRAWN = ROOT / "store" / "migrations"


def write_picture() -> str:
    """The picture in Mermaid: an arrow points from a package to one that it imports.

    An arrow that follows from two others is left out.
    """
    imports = {package: set(_imported_by(package)) for package in PACKAGES}
    arrows = [
        f"    {package} --> {imported}"
        for package in PACKAGES
        for imported in PACKAGES
        if imported in imports[package]
        and not any(imported in _reached(other, imports) for other in imports[package] - {imported})
    ]
    return "\n".join(["```mermaid", "flowchart TD", *arrows, "```"])


def page_with_picture(page: str) -> str:
    """The page with the current picture between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{write_picture()}\n{END}{after}"


def _reached(package: str, imports: dict[str, set[str]]) -> set[str]:
    """The packages that it imports, directly or through others. Imports have no cycle."""
    return imports[package].union(*(_reached(other, imports) for other in imports[package]))


def _imported_by(package: str) -> Iterator[str]:
    """The other packages that its modules name in an import, also inside functions."""
    for path in sorted((ROOT / package).rglob("*.py")):
        if NOT_DRAWN in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names=names):
                    modules = [alias.name for alias in names]
                case ast.ImportFrom(module=str(module), level=0):
                    modules = [module]
                case _:
                    modules = []
            yield from (
                name
                for module in modules
                if (name := module.partition(".")[0]) in PACKAGES and name != package
            )


if __name__ == "__main__":
    PAGE.write_text(page_with_picture(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
