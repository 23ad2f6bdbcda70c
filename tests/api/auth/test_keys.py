"""API keys over HTTP: text that cannot be a key costs no query, and every process refuses revoked
and expired keys in time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from fastapi import FastAPI
from sqlalchemy import Engine, event, text

from api.app import create_app
from api.auth.api_keys import TRUST_SECONDS
from domain.audit import Actor
from domain.projects import CreatedProject
from domain.security.api_keys import api_key_text
from operations.composition import Operations
from store.crypto.encryption import Sealer
from store.db.database import Clock, Database
from tests.api.serving import Caller, parts_on, receipt, serving

OPERATOR = Actor("usr_operator")


@contextmanager
def queries_of(table: str) -> Iterator[list[str]]:
    """Records the statements on the table of all connections of this process."""
    seen: list[str] = []

    # Any: the arguments of SQLAlchemy; only the statement is used.
    def see(_: Any, __: Any, statement: str, *___: Any) -> None:
        if table in statement:
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", see)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", see)


def operations_of(app: FastAPI) -> Operations:
    found: Operations = app.state.shared.operations
    return found


async def test_bad_checksum_asks_the_store_nothing(caller: Caller, project: CreatedProject) -> None:
    last = "0" if project.api_key[-1] != "0" else "1"
    mistyped, unknown = project.api_key[:-1] + last, api_key_text(bytes(32), livemode=False)

    with queries_of("api_keys") as seen:
        answers = [await caller.with_key(mistyped).send("receipt", receipt()) for _ in range(3)]
        answers.append(await caller.with_key(mistyped).ask("GET", "/events"))
        before = len(seen)
        answers.append(await caller.with_key(unknown).send("receipt", receipt()))

    assert [answer.status_code for answer in answers] == [401] * 5
    assert (before, len(seen)) == (0, 1)


async def test_key_revoked_at_one_process_is_refused_by_the_other_within_five_seconds(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    seconds = 0.0
    here, there = (create_app(parts_on(database, sealer), clock=lambda: seconds) for _ in range(2))
    async with serving(here) as one, serving(there) as two:
        callers = [Caller(client, project.api_key) for client in (one, two)]
        before = [(await caller.send("receipt", receipt())).status_code for caller in callers]

        await operations_of(here).api_keys.revoke_key(
            project.project.id, project.key.id, actor=OPERATOR
        )

        at_once = (await callers[0].send("receipt", receipt())).status_code
        seconds = TRUST_SECONDS
        in_time = [(await caller.send("receipt", receipt())).status_code for caller in callers]

    assert TRUST_SECONDS <= 5
    assert (before, at_once, in_time) == ([202, 202], 401, [401, 401])


async def test_key_is_refused_once_it_has_expired(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    seconds, clock = 0.0, Clock()
    later = Database.open(database.url, clock=clock)
    app = create_app(parts_on(later, sealer), clock=lambda: seconds)
    made = await operations_of(app).api_keys.create_key(
        project.project.id, label="trial", expires_in_days=1, actor=OPERATOR
    )
    async with serving(app) as client:
        caller = Caller(client, made.api_key)
        before = await caller.send("receipt", receipt())
        clock.skew, seconds = timedelta(days=1), seconds + TRUST_SECONDS
        after = await caller.send("receipt", receipt())
    await later.close()

    assert (before.status_code, after.status_code) == (202, 401)


async def test_use_of_a_key_is_recorded(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    async with serving(create_app(parts_on(database, sealer))) as client:
        await Caller(client, project.api_key).send("receipt", receipt())
    # The last heartbeat, at the end of the process, has stored it.
    async with database.reading() as session:
        used_at = await session.scalar(text("SELECT last_used_at FROM api_keys"))
        accepted_at = await session.scalar(text("SELECT accepted_at FROM receipts"))

    assert used_at is not None
    assert used_at >= accepted_at
