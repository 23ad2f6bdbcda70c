"""The rules of the design, checked on the source: who may import whom, what `domain` may use, who
may catch everything. `tests/test_boundaries.py` checks who may connect to what.

Each exception is listed with its reason, so that a reviewer sees every new one.
"""

import ast
import sys

import pytest

from tests.support.source_files import PACKAGES, ROOT, called, imports, parsed, sources

# Whom each package may import beside itself: docs/architecture.md.
ALLOWED = {
    "config": {"domain", "store"},  # of the store only what an e-mail address looks like
    "domain": set(),
    "egress": {"domain"},
    "store": {"domain"},
    "operations": {"domain", "egress", "store"},
    "activities": {"domain", "egress", "store"},
    "workflows": {"domain", "activities"},
    "worker": {"domain", "egress", "store", "activities", "workflows"},
    "api": {"domain", "egress", "store", "operations"},
    "cli": {
        "config",
        "domain",
        "egress",
        "store",
        "operations",
        "activities",
        "workflows",
        "worker",
        "api",
    },
}
ALONE: frozenset[str] = frozenset()
# Whom each folder may import of its own package's other folders; each row names only folders of
# rows above it.
INSIDE = {
    "domain/values": set(),
    "domain/security": {"domain/values"},
    "domain/temporal": {"domain/values"},
    "domain/groups": set(),
    "domain/sources": {"domain/values", "domain/security"},
    "domain/search": {"domain/values"},
    "domain/wording": {"domain/values"},
    "domain/repairing": {"domain/values"},
    "domain/overview": {"domain/values"},
    "store/db": set(),
    "store/schema": set(),
    "store/status": {"store/db", "store/schema"},
    "store/crypto": {"store/db", "store/schema", "store/status"},
    "store/people": {"store/db", "store/schema", "store/crypto"},
    "store/audit": {"store/db", "store/schema", "store/crypto"},
    "store/receipts": {"store/db", "store/schema", "store/crypto", "store/status"},
    "store/repairing": {"store/db", "store/schema", "store/crypto", "store/receipts"},
    "store/overview": {"store/db", "store/schema", "store/receipts"},
    "store/alerts": {
        *("store/db", "store/schema", "store/crypto", "store/people", "store/receipts"),
        *("store/repairing", "store/overview"),
    },
    "store/evidence": {"store/db", "store/schema", "store/crypto", "store/receipts"},
    "store/projects": {
        *("store/db", "store/schema", "store/crypto", "store/receipts", "store/alerts"),
        "store/status",
    },
    "store/sources": {
        *("store/db", "store/schema", "store/crypto", "store/receipts", "store/alerts"),
        "store/projects",
    },
    "store/ingest": {
        *("store/db", "store/crypto", "store/status", "store/receipts", "store/sources"),
    },
    "store/maintenance": {
        *("store/db", "store/schema", "store/status", "store/crypto", "store/audit"),
        *("store/people", "store/receipts", "store/ingest", "store/sources", "store/overview"),
    },
    **dict.fromkeys(("operations/alerts", "operations/people", "operations/credentials"), ALONE),
    **dict.fromkeys(("operations/sources", "operations/repairing", "operations/triage"), ALONE),
    **dict.fromkeys(("operations/groups", "operations/overview", "operations/instance"), ALONE),
    "operations/onboarding": ALONE,
    "operations/repair_url": {"operations/alerts"},
    "operations/responses": {
        *("operations/alerts", "operations/people", "operations/credentials"),
        *("operations/sources", "operations/groups", "operations/repairing"),
        *("operations/overview", "operations/repair_url"),
    },
    "operations/listing": {"operations/responses"},
    **dict.fromkeys(("activities/alerts", "activities/bulk"), ALONE),
    **dict.fromkeys(("activities/callback", "activities/sources"), ALONE),
    "worker/temporal": set(),
    "worker/health": {"worker/temporal"},
    "worker/loops": {"worker/temporal"},
    "worker/groups": {"worker/loops"},
    "worker/sources": {"worker/temporal", "worker/loops"},
    "worker/triage": {"worker/loops"},
    "worker/repairing": {"worker/temporal", "worker/loops"},
    "worker/overview": {"worker/loops"},
    "api/http": set(),
    "api/auth": {"api/http"},
    "api/ingest": {"api/http", "api/auth"},
    "api/hooks": {"api/http", "api/auth", "api/ingest"},
    "api/rest": {"api/http", "api/auth", "api/ingest"},
    "api/health": {"api/http", "api/auth"},
    "api/console": {"api/http", "api/auth"},
    **dict.fromkeys(("cli/alerts", "cli/logs", "cli/overview"), ALONE),
    "cli/welcome": {"cli/logs"},
    "cli/up": {"cli/logs", "cli/welcome"},
    "cli/groups": set(),
    "cli/repairing": set(),
    "cli/doctor": {"cli/up"},
    "cli/repair_url": set(),
    "cli/commands": {"cli/alerts", "cli/up", "cli/doctor", "cli/repair_url", "cli/overview"},
    "cli/sources": set(),
    "cli/evidence": {"cli/commands"},
    "cli/triage": {"cli/commands"},
    "cli/lists": set(),
    "cli/demo": {"cli/up", "cli/commands"},
}


# The compositions of the two processes turn settings into plain values and set up logging; nothing
# else below `cli` may.
COMPOSITIONS = {"worker/main.py", "api/main.py"}


# What may not be in `domain`, nor where a workflow's sandbox looks away: it would make a replay
# differ.
IMPURE_MODULES = {
    *("asyncio", "io", "logging", "os", "pathlib", "random", "secrets", "socket"),
    *("subprocess", "threading", "time"),
}

IMPURE_CALLS = {
    "now",
    "utcnow",
    "today",
    "uuid4",
    "uuid1",
    "uuid7",
    "time",
    "monotonic",
    "open",
    "input",
    "print",
    "getenv",
}


# Reached past the sandbox, beside all of `workflows`: the messages, and what they are made of.
PASSED_THROUGH = ("activities/messages.py",)


# Temporal's own clock and random ids, the same in every replay.
TEMPORAL_CLOCK = {"workflow.now", "workflow.uuid4"}


# Process edges: what fails there is logged, answered or tried again, and the process goes on.
CATCHES_EVERYTHING = {
    "store/ingest/group_commit.py": "a request that cannot be stored fails alone",
    "store/ingest/hooks.py": "a delivery that cannot be stored fails alone",
    "store/ingest/heartbeat.py": "a heartbeat that fails is written later, or is an outage",
    "activities/alerts/send.py": "an alert whose facts cannot be read is sent with its ids only",
    "activities/alerts/delivery.py": (
        "an alert that cannot be written or sent is recorded, and blocks no other"
    ),
    "activities/alerts/email.py": "a mail that cannot be rendered goes out with ids only",
    "activities/bulk/step.py": "an incident that cannot begin does not stop the others",
    "activities/callback/send.py": "an attempt that breaks is recorded as ended",
    "worker/temporal/payloads.py": "a payload that no decoder takes is said to be so",
    "worker/loops/dispatch.py": "a row that cannot be delivered does not stop the others",
    "worker/loops/reconcile.py": "a broken step does not stop the others",
    "worker/loops/overdue.py": "an incident that cannot be opened does not stop the others",
    "worker/loops/stuck_runs.py": "a run that cannot be checked does not stop the others",
    "worker/loops/source_schedules.py": "a source without Schedule does not stop the others",
    "worker/sources/early_results.py": "a project that cannot be alerted does not stop the others",
    "worker/overview/counting.py": "a project that cannot be counted does not stop the others",
    "worker/overview/silence.py": "a project that cannot be alerted does not stop the others",
    "worker/triage/quiet_times.py": "an incident that cannot be changed does not stop the others",
    "worker/sources/health.py": "a source that cannot be recorded does not stop the others",
    "worker/groups/alerts.py": "a window that cannot be ended does not stop the others",
    "worker/groups/adoption.py": "an incident without a group does not stop the others",
    "worker/repairing/bulk_starts.py": "a bulk repair without workflow does not stop the others",
    "worker/repairing/holds.py": "a held repair that cannot begin does not stop the others",
    "worker/repairing/rules.py": "an incident that cannot be judged does not stop the others",
    "worker/loops/notify_listener.py": "what cannot be listened to is polled",
    "worker/loops/alert_retries.py": "mail that cannot be sent now does not end the worker",
    "worker/health/heartbeat.py": "a failed heartbeat does not end the loop",
    "worker/connection_loop.py": (
        "what cannot be done for Temporal does not end what needs the store alone"
    ),
    "worker/loops/outage_credit.py": "what cannot be credited now does not end the worker",
    "worker/loops/search_index.py": "what cannot be indexed now is searched without the index",
    "worker/loops/retention.py": "what cannot be purged now does not end the worker",
    "api/middleware.py": "a bug is a 500 with a request id",
    "api/ingest/endpoint.py": "a bug in the hot path is a 500 with a request id",
    "api/hooks/endpoint.py": "a bug in a provider's delivery is a 500 with a request id",
    "api/health/heartbeat.py": "a failed heartbeat does not end the loop",
    "cli/doctor/run.py": (
        "a check that breaks is a failure of its own, and does not stop the others"
    ),
}


def ours(tree: ast.AST) -> set[str]:
    top = {module.partition(".")[0] for module, _ in imports(tree)}
    return top & {*PACKAGES, "examples", "bench", "tests"}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    wrong = {}
    for name in sources(package):
        allowed = ALLOWED[package] | {package} | ({"config"} if name in COMPOSITIONS else set())
        if beyond := ours(parsed(name)) - allowed:
            wrong[name] = beyond
    assert not wrong


def test_domain_imports_only_the_pure_parts_of_the_standard_library() -> None:
    wrong = {}
    for name in sources("domain"):
        tops = {module.partition(".")[0] for module, _ in imports(parsed(name))} - {"domain"}
        if beyond := {
            top for top in tops if top not in sys.stdlib_module_names or top in IMPURE_MODULES
        }:
            wrong[name] = beyond
    assert not wrong


@pytest.mark.parametrize("name", [*sources("domain", "workflows"), *PASSED_THROUGH])
def test_no_clock_and_no_randomness_where_a_replay_must_be_the_same(name: str) -> None:
    tree = parsed(name)
    calls = {
        call
        for call in called(tree)
        if call not in TEMPORAL_CLOCK and call.rpartition(".")[2] in IMPURE_CALLS
    }
    modules = {module for module, _ in imports(tree) if module.partition(".")[0] in IMPURE_MODULES}

    assert not calls
    assert not modules


def folder_of(module: str) -> str | None:
    """The row of `INSIDE` of a module. None for one beside the folders of its package."""
    parts = module.split(".")
    name = "/".join(parts[:2])
    return name if name in INSIDE and len(parts) > 2 else None


@pytest.mark.parametrize("folder", INSIDE)
def test_folders_of_a_package_import_one_way(folder: str) -> None:
    wrong = {}
    for name in sources(folder):
        modules = {
            f"{module}.{taken}"
            for module, names in imports(parsed(name))
            for taken in names or ("",)
        }
        found = {
            other
            for module in modules
            if (other := folder_of(module)) and other.split("/")[0] == folder.split("/")[0]
        }
        if beyond := found - INSIDE[folder] - {folder}:
            wrong[name] = beyond
    assert not wrong


def test_every_folder_has_its_row_below_those_that_it_imports() -> None:
    folders = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).glob("*/__init__.py")
    }
    rows = list(INSIDE)

    assert {folder.removesuffix("/__init__.py") for folder in folders} - {
        "store/migrations"
    } == set(rows)
    assert [row for index, row in enumerate(rows) if not INSIDE[row] <= set(rows[:index])] == []


def test_only_process_edges_catch_everything() -> None:
    found = set()
    for name in sources(*PACKAGES):
        for node in ast.walk(parsed(name)):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None or ast.unparse(node.type) in {"Exception"}
            ):
                found.add(name)
    assert found <= set(CATCHES_EVERYTHING)
