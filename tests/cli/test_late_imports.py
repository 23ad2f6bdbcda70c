"""Where the command line imports inside functions, and why: a short command must start fast."""

import ast

from tests.test_architecture import parsed, sources

SIGNATURES = "declares commands: their help needs no store, HTTP client or settings"
# `test_main.test_help_imports_nothing_heavy` shows what the declarations are kept light for.
IMPORTS_LATE = {
    **dict.fromkeys(sources("cli/commands"), SIGNATURES),
    "cli/alerts/command.py": SIGNATURES,
    "cli/doctor/command.py": SIGNATURES,
    "cli/demo/command.py": SIGNATURES,
    "cli/evidence/group.py": SIGNATURES,
    "cli/evidence/sent.py": SIGNATURES,
    "cli/sources/command.py": SIGNATURES,
    "cli/triage/command.py": SIGNATURES,
    "cli/repair_url/command.py": SIGNATURES,
    "cli/groups/command.py": SIGNATURES,
    "cli/overview/command.py": SIGNATURES,
    "cli/repairing/bulk.py": SIGNATURES,
    "cli/repairing/holds.py": SIGNATURES,
    "cli/repairing/rules.py": SIGNATURES,
    "cli/lists/export.py": SIGNATURES,
    "cli/lists/listing.py": SIGNATURES,
    "cli/lists/options.py": SIGNATURES,
    "cli/lists/views.py": SIGNATURES,
    "cli/local_operations.py": "the commands' way to the store, which a declaration imports",
    "cli/settings.py": "the commands' way to the settings, which a declaration imports",
    "cli/usage_errors.py": "Pydantic is slow to import, and only a usage error needs it",
    "cli/output.py": "tables and the limit of lists: most commands print neither",
    "cli/healthcheck.py": "runs every few seconds; the check of an API needs no store",
    "cli/up/child_health.py": "`makegood up` starts its children before it needs the store",
    "cli/up/run.py": "`makegood up` starts its children before it needs the store",
    "cli/up/temporal_binary.py": "downloads the program, which an installation rarely needs",
    "cli/welcome/bootstrap.py": "`makegood up` starts its children before it needs the store",
}


def imports_late(name: str) -> bool:
    """Whether a function of the file imports."""
    functions = (
        node
        for node in ast.walk(parsed(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return any(
        isinstance(node, ast.Import | ast.ImportFrom)
        for function in functions
        for node in ast.walk(function)
    )


def test_only_listed_files_import_inside_functions() -> None:
    late = {name for name in sources("cli") if imports_late(name)}

    assert late - set(IMPORTS_LATE) == set()
    assert {name for name in IMPORTS_LATE if "/commands/" not in name} - late == set()
