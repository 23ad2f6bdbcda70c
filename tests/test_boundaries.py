"""The boundaries of the process, checked on the source: who may connect to what a user named, query
the database, and call Temporal.

Each exception is listed with its reason, so that a reviewer sees every new one.
"""

import ast

from tests.support.source_files import PACKAGES, called, imports, parsed, sources

# Who may call what a user named, handing the guard in.
OPENS_A_GUARDED_CLIENT = {
    "activities/alerts/http/post.py",
    "activities/callback/transport.py",
    "api/console/sign_in/oidc_provider.py",
}


CONNECTS = {
    "open_connection",
    "create_connection",
    "getaddrinfo",
    "urlopen",
    "HTTPConnection",
    "HTTPSConnection",
}


# Who may use a database driver outside the store.
USES_A_DRIVER = {
    "worker/loops/notify_listener.py": (
        "LISTEN needs a connection of its own for as long as the process lives"
    )
}


DRIVERS = {"sqlalchemy", "sqlmodel", "asyncpg", "aiosqlite", "sqlite3", "alembic"}


def test_no_connection_is_made_past_the_guard() -> None:
    """What a user names is connected to through `egress` alone; mail, the store and Temporal are
    the operator's to name.
    """
    wrong = []
    for name in sources(*(package for package in PACKAGES if package not in {"egress", "cli"})):
        for node in ast.walk(parsed(name)):
            if not isinstance(node, ast.Call):
                continue
            call, guarded = ast.unparse(node.func), {keyword.arg for keyword in node.keywords}
            is_client = call.startswith("httpx.") and not (
                call == "httpx.AsyncClient"
                and "transport" in guarded
                and name in OPENS_A_GUARDED_CLIENT
            )
            is_exception = call.rpartition(".")[2] in {
                "Timeout",
                "Response",
                "Request",
                "URL",
                "Headers",
            }
            if (is_client and not is_exception) or call.rpartition(".")[2] in CONNECTS:
                wrong.append((name, call))
    assert not wrong


def test_no_query_is_outside_the_store() -> None:
    wrong = []
    for name in sources(*(package for package in PACKAGES if package != "store")):
        for module, taken in imports(parsed(name)):
            # The type of a session that is passed on, and the errors that a process edge
            # reports, query nothing.
            is_harmless = module == "sqlalchemy.exc" or (
                module == "sqlalchemy.ext.asyncio" and set(taken) == {"AsyncSession"}
            )
            if (
                module.partition(".")[0] in DRIVERS
                and not is_harmless
                and name not in USES_A_DRIVER
            ):
                wrong.append((name, module))
    assert not wrong


def test_tables_are_named_only_in_the_store() -> None:
    wrong = [
        name
        for name in sources(*(package for package in PACKAGES if package != "store"))
        for module, taken in imports(parsed(name))
        if module == "store.schema.tables" or (module == "store" and "tables" in taken)
    ]
    assert not wrong


def test_only_transactions_of_the_store_commit() -> None:
    # SQLite's connections have the driver's interface, through which SQLAlchemy commits.
    files = [name for name in sources(*PACKAGES) if name != "store/db/sqlite.py"]

    assert [
        name
        for name in files
        for call in called(parsed(name))
        if call.endswith((".commit", ".rollback"))
    ] == []


def test_temporals_client_is_used_by_the_worker_alone() -> None:
    wrong = [
        name
        for name in sources("domain", "store", "activities", "workflows", "api")
        for module, _ in imports(parsed(name))
        if module.startswith(
            ("temporalio.client", "temporalio.worker", "temporalio.service", "temporalio.api")
        )
    ]
    assert not wrong
    assert [
        n
        for n in sources("domain", "store", "api")
        for m, _ in imports(parsed(n))
        if m.startswith("temporalio")
    ] == []
