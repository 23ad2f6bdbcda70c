"""What a reader of `docs/` relies on:

every setting, code and state has its line, pictures are current, links lead somewhere.
"""

import importlib.util
import json
import re
from enum import Enum
from pathlib import Path
from types import ModuleType

import pytest

from api.http.problems import Problems
from api.ingest.schemas import ReceiptBody
from config.settings import Settings, environment_name, environment_names
from domain.audit import AuditAction
from domain.errors import Code, ValidationFailed
from domain.groups.group import GroupState
from domain.incidents import (
    IncidentState,
    Reason,
    RepairCause,
    RepairState,
    Resolution,
    TimelineKind,
)
from domain.lifecycle import LifecycleState
from domain.receipts import Flag, ReceiptState
from domain.repairing.bulk import BulkState, ItemState, SkipReason
from domain.sources.source import SourceProblem, SourceState
from operations.validation import validated

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?://|#|mailto:)(?P<target>[^)#\s]+)")
STATES = (
    ReceiptState,
    IncidentState,
    GroupState,
    RepairState,
    LifecycleState,
    Reason,
    Resolution,
    RepairCause,
    Flag,
    TimelineKind,
    SourceState,
    SourceProblem,
    BulkState,
    ItemState,
    SkipReason,
)


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def first_cells(page: str) -> list[str]:
    """The code words of each table row's first cell."""
    rows = re.findall(r"^\| (`[^|]*?) \|", page, re.MULTILINE)
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row)]


def program(name: str) -> ModuleType:
    """A program of `docs/`, loaded by its path: `docs` is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_setting_has_its_line_and_no_other_is_named() -> None:
    named = first_cells(read("reference/settings.md"))

    assert sorted(named) == sorted(environment_names())


@pytest.mark.parametrize(
    "field",
    [
        name
        for name, field in Settings.model_fields.items()
        if isinstance(field.default, int | float)
    ],
)
def test_documented_default_is_the_settings_own(field: str) -> None:
    default = Settings.model_fields[field].default
    shown = str(default).lower() if isinstance(default, bool) else str(default)

    assert f"| `{environment_name(field)}` | `{shown}` |" in read("reference/settings.md")


def test_the_api_key_has_one_name() -> None:
    """The older one is named where it is said that it still works."""
    places = (*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("sdks/*/README.md"))
    examples = (*ROOT.glob("sdks/*/examples/*"), *ROOT.glob("api/console/templates/**/*.html"))

    older = [
        str(path.relative_to(ROOT))
        for path in (*places, *examples, *ROOT.glob("examples/**/*.md"))
        if re.search(r"\bMAKEGOOD_KEY\b", path.read_text())
    ]

    assert sorted(older) == ["CHANGELOG.md", "docs/command-line.md"]


def test_every_error_code_has_its_line() -> None:
    assert first_cells(read("reference/errors.md")) == [code.value for code in Code]


def test_errors_page_is_made_from_the_code() -> None:
    assert read("reference/errors.md") == program("make_errors").write_page(), (
        "run .venv/bin/python docs/make_errors.py"
    )


def test_example_of_an_error_is_what_a_body_without_fields_gets() -> None:
    example = re.search(r"```json\n(.*?)```", read("reference/errors.md"), re.DOTALL)
    assert example is not None
    example_body = json.loads(example[1])

    with pytest.raises(ValidationFailed) as refused:
        validated(ReceiptBody, {})

    made = json.loads(Problems("https://…").body_of(refused.value, request_id="req_…"))
    assert example_body | {"detail": made["detail"], "errors": made["errors"]} == made
    assert example_body["errors"][0] in made["errors"]


def test_readme_keeps_the_secrets_of_production_where_compose_reads_them() -> None:
    (line,) = re.findall(
        r"^#   (printf .* > \.env)$",
        (ROOT / "docker-compose.yml").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert line in readme
    assert "export MAKEGOOD_SECRET_KEY" not in readme


def test_every_act_of_the_audit_log_has_its_line() -> None:
    acts = read("audit-log.md").partition("## Acts")[2].partition("## Verifying")[0]

    assert sorted(first_cells(acts.partition("\n| ---")[2])) == sorted(AuditAction)


@pytest.mark.parametrize("states", STATES, ids=lambda states: states.__name__)
def test_every_state_has_its_line(states: type[Enum]) -> None:
    lines = first_cells(read("reference/states.md"))

    assert {state.value for state in states} <= set(lines)


def test_no_unknown_state_is_described() -> None:
    assert set(first_cells(read("reference/states.md"))) == {
        state.value for states in STATES for state in states
    }


def test_picture_and_table_are_drawn_from_the_lifecycle() -> None:
    made = program("make_lifecycle")
    page = read("how-recovery-works.md")

    assert read("pictures/lifecycle.svg") == made.draw_picture(), (
        "run .venv/bin/python docs/make_lifecycle.py"
    )
    assert page == made.page_with_table(page), "run .venv/bin/python docs/make_lifecycle.py"
    assert "pictures/lifecycle.svg" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_that_exist(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text(encoding="utf-8"))]

    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_test_that_the_security_page_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", read("security.md"))
    sources = {path: (ROOT / path).read_text(encoding="utf-8") for path, _ in named}

    assert len(named) > 50
    assert [
        f"{path}::{name}" for path, name in named if not re.search(rf"def {name}\(", sources[path])
    ] == []


def test_every_row_of_the_security_page_names_its_test() -> None:
    threats = re.findall(r"\| threat \|.*\n\|---.*\n((?:\|.*\n)+)", read("security.md"))

    assert len(threats) >= 8
    assert [row for table in threats for row in table.splitlines() if "::test_" not in row] == []
