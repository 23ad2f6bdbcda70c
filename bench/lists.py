"""Times every list with its filters and searches, on a store with a year of receipts.

    python -m bench.lists [sqlite] [postgresql] [--receipts 1000000] [--postgresql-url URL]

Each query runs 20 times in the session that pages and REST use, with a limit of 20 rows. The
largest project has 60 % of the receipts. The URL names an empty database of another server than the
one that comes with the tests.

Bound: p95 of each query at most 300 ms, or 1,000 ms beyond a million receipts.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bench.figures import check_bound, p95
from bench.fill_lists import ASSIGNEE, GROUP, YEAR_MS, Filled, fill_lists
from domain.errors import TooSlow
from domain.search.sorting import EVENT_SORTS, OLDEST_FIRST, SORTS
from domain.values.timestamps import from_unix_ms
from store.db.database import Database
from store.migrate import migrate
from store.receipts import queries
from store.receipts.lists.tab_counts import count_tabs
from store.receipts.queries import ListFilters
from tests.support.postgres import running_postgres

RUNS = 20
LIMIT = 20
TABS = {name: f"is:{name}" for name in ("open", "acknowledged", "snoozed", "resolved")}
MOST_MS, MOST_MS_BEYOND_A_MILLION = 300.0, 1_000.0
Query = Callable[[AsyncSession], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Sample:
    """A receipt of the middle of the year in the largest project, to be searched for."""

    event_id: str
    reference: str
    provider_event_id: str


def lists(filled: Filled, sample: Sample) -> dict[str, Query]:
    """Every query by its name: each list, each reader's projects, each filter, deep pages too."""
    largest, small = filled.projects[0], filled.projects[7]
    readers: dict[str, dict[str, Any]] = {
        "the largest project": {"project_id": largest},
        "a small project": {"project_id": small},
        "a member's ten": {"within": filled.projects[5:15]},
        "everything": {},
    }
    texts = searches(sample)
    asked: dict[str, Query] = {}
    for reader, scope in readers.items():
        for name, filters in (filters_of(filled, sample) | texts).items():
            for kind in ("events", "incidents"):
                states = filters.get("states")
                chosen = filters if states is None else filters | {"states": states[kind]}
                wanted = ListFilters(**{"project_id": None} | scope | chosen)
                asked[f"{kind} of {reader}: {name}"] = _list(kind, wanted)
        for name, (filters, sort) in incident_lists(filled).items():
            wanted = ListFilters(**{"project_id": None} | scope | filters)
            asked[f"incidents of {reader}: {name}"] = _list("incidents", wanted, sort)
            asked[f"tabs of {reader}: {name}"] = _tabs(wanted)
        for name, q in EVENT_TOKENS.items():
            now = from_unix_ms(filled.from_ms + YEAR_MS)
            wanted = ListFilters(**{"project_id": None} | scope, q=q, now=now)
            asked[f"events of {reader}: {name}"] = _list("events", wanted)
        for sort in EVENT_SORTS:
            for name, filters in (("all", {}), ("waiting", {"states": ("waiting",)})):
                wanted = ListFilters(**{"project_id": None} | scope | filters)
                asked[f"events of {reader}: {name} by {sort}"] = _list("events", wanted, sort)
        asked[f"counts of {reader}"] = _counts(scope)
    return asked


def filters_of(filled: Filled, sample: Sample) -> dict[str, dict[str, Any]]:
    """Filters by their name. `states` are given for either list."""
    middle = from_unix_ms(filled.from_ms + YEAR_MS // 2)
    rare = {"events": ("incident",), "incidents": ("repairing",)}
    usual = {"events": ("applied",), "incidents": ("resolved",)}
    oldest = {"created_before": from_unix_ms(filled.from_ms + YEAR_MS // 50)}
    return {
        "no filter": {},
        "deep page": {"created_before": middle},
        "the oldest page": oldest,
        "a day of the middle": {
            "created_after": middle,
            "created_before": middle + timedelta(days=1),
        },
        "rare state": {"states": rare},
        "usual state": {"states": usual},
        "usual state, deep page": {"states": usual} | oldest,
        "state without rows": {"states": {"events": ("expected",), "incidents": ("none",)}},
        "provider": {"provider": "shopify"},
        "event type, frequent": {"event_type": "invoice.paid"},
        "event type, rare": {"event_type": "charge.dispute.created"},
        "event type, none": {"event_type": "checkouts/create"},
        "effect": {"effect_type": "credit_deduction"},
        "type and effect that never meet": {
            "event_type": "invoice.paid",
            "effect_type": "credit_deduction",
        },
        "provider, state, effect and time": {
            "provider": "stripe",
            "states": rare,
            "effect_type": "access_unlock",
        }
        | oldest,
        "reference": {"internal_reference": sample.reference},
        "reference of a subscription": {"internal_reference": "sub_31"},
        "reference, none": {"internal_reference": "order-none"},
        "reference and state": {"internal_reference": "sub_31", "states": rare},
    }


def incident_lists(filled: Filled) -> dict[str, tuple[dict[str, Any], str | None]]:
    """Tokens and orders of the list of incidents by their name."""
    now = from_unix_ms(filled.from_ms + YEAR_MS)
    tokens = {
        "open": "is:open",
        "acknowledged": "is:acknowledged",
        "snoozed": "is:snoozed",
        "assigned": "is:assigned",
        "assigned to one": f"assignee:{ASSIGNEE}",
        "assigned to nobody known": "assignee:nobody@example.test",
        "not assigned": "assignee:none is:open",
        "assigned and acknowledged": "is:acknowledged is:assigned",
        "flagged": "is:flagged",
        "reason": "reason:missing_result",
        "reason, none": "reason:missing_receipt",
        "error, frequent": "error:card_declined",
        "error, rare": "error:seat_limit_reached",
        "error, none": "error:none",
        "error, none with a type": "error:none type:invoice.paid",
        "muted": "is:muted",
        "muted, of a state": "is:muted is:repairing",
        "muted, with words": "is:muted refused",
        "group": f"group:{GROUP}",
        "group, of a state": f"group:{GROUP} is:resolved",
        "group, none": "group:grp_none",
        "customer": "customer:customer_50",
        "customer, none": "customer:nobody",
        "age, old": "age:>300d",
        "amount": "amount:>50000",
        "amount, none": "amount:>900000000",
        "words of errors": "refused bank",
        "words of an error and a token": "refused is:open",
    }
    return {
        **{name: ({"q": q, "now": now}, None) for name, q in tokens.items()},
        **{f"by {sort}": ({}, sort) for sort in SORTS},
        **{f"open by {sort}": ({"states": ("open",)}, sort) for sort in SORTS},
        "a type by amount": ({"event_type": "invoice.paid"}, "-amount"),
        "type none by deadline": ({"event_type": "checkouts/create"}, "deadline_at"),
        "oldest first, rare error": ({"q": "error:seat_limit_reached"}, OLDEST_FIRST),
        "oldest first, words": ({"q": "order-"}, OLDEST_FIRST),
        "by amount, words": ({"q": "order-"}, "-amount"),
        "by amount, no match": ({"q": "zzz-none-zzz"}, "-amount"),
        "by deadline, a time": ({"q": "age:>300d", "now": now}, "-deadline_at"),
    }


# On events, an amount has no index of its own and is looked for within the time limit.
EVENT_TOKENS = {
    "open": "is:open",
    "flagged": "is:flagged",
    "error, rare": "error:seat_limit_reached",
    "reason, none": "reason:missing_receipt",
    "customer": "customer:customer_50",
    "acknowledged": "is:acknowledged",
    "assigned to one": f"assignee:{ASSIGNEE}",
    "muted": "is:muted",
    "group": f"group:{GROUP}",
}


def searches(sample: Sample) -> dict[str, dict[str, Any]]:
    """Search texts by their name."""
    return {
        "q, in most rows": {"q": "order-"},
        "q of two characters": {"q": "or"},
        "q, our id": {"q": sample.event_id},
        "q, a reference": {"q": sample.reference},
        "q, the provider's id": {"q": sample.provider_event_id},
        "q, prefix of a reference": {"q": sample.reference[:-2]},
        "q, part of an id": {"q": sample.provider_event_id[8:18]},
        "q, three characters": {"q": sample.provider_event_id[8:11]},
        "q, digits": {"q": sample.reference[-6:]},
        "q, none": {"q": "zzz-none-zzz"},
        "q, none, of frequent trigrams": {"q": "order-order-1"},
        "q, rare, and a type": {"q": sample.reference, "event_type": "invoice.paid"},
        "q, frequent, and a rare type": {"q": "order-", "event_type": "charge.dispute.created"},
    }


def _list(kind: str, filters: ListFilters, sort: str | None = None) -> Query:
    async def ask(session: AsyncSession) -> object:
        if kind == "events":
            return await queries.list_events(session, filters, limit=LIMIT, cursor=None, sort=sort)
        return await queries.list_incidents(session, filters, limit=LIMIT, cursor=None, sort=sort)

    return ask


def _tabs(filters: ListFilters) -> Query:
    async def ask(session: AsyncSession) -> object:
        return await count_tabs(session, filters, TABS)

    return ask


def _counts(scope: dict[str, Any]) -> Query:
    project_id, within = scope.get("project_id"), scope.get("within")

    async def ask(session: AsyncSession) -> object:
        now = datetime.now().astimezone()
        return await queries.counts(session, project_id, now, within=within)

    return ask


async def read_sample(database: Database, filled: Filled) -> Sample:
    """The first order of the largest project in the second half of the year."""
    sql = text(
        "SELECT event_id, internal_reference, provider_event_id FROM receipts"
        " WHERE project_id = :project_id AND accepted_at > :from_ms"
        " AND internal_reference LIKE 'order-%' AND state = 'applied'"
        " ORDER BY accepted_at LIMIT 1"
    )
    values = {"project_id": filled.projects[0], "from_ms": filled.from_ms + YEAR_MS // 2}
    async with database.reading() as session:
        return Sample(*(await session.execute(sql, values)).one())


async def took_ms(database: Database, query: Query) -> list[float]:
    """The milliseconds of each run, without the wait for a connection.

    A run that the time limit ends counts with the time that it took.
    """
    took: list[float] = []
    for _ in range(RUNS):
        began = time.perf_counter()
        with suppress(TooSlow):
            async with database.searching("bench") as session:
                began = time.perf_counter()
                await query(session)
        took.append((time.perf_counter() - began) * 1000)
    return took


async def measure(url: str, receipts: int) -> bool:
    database = Database.open(url, statement_seconds=3_600)
    began = time.perf_counter()
    filled = await fill_lists(database, receipts)
    print(f"{database.dialect}, {receipts} receipts, {time.perf_counter() - began:.0f} s to fill")
    sample = await read_sample(database, filled)
    slowest = 0.0
    for name, query in lists(filled, sample).items():
        took = await took_ms(database, query)
        slowest = max(slowest, p95(took))
        print(f"  {name:<72} p50 {median(took):>7.1f}  p95 {p95(took):>7.1f} ms", flush=True)
    await database.close()
    most = MOST_MS if receipts <= 1_000_000 else MOST_MS_BEYOND_A_MILLION
    return check_bound("p95 of the slowest query", slowest, most=most, unit="ms")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="*", metavar="STORE", help="sqlite, postgresql, or both")
    parser.add_argument("--receipts", type=int, default=1_000_000)
    parser.add_argument("--postgresql-url", metavar="URL")
    chosen = parser.parse_args()
    results: list[bool] = []
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="makegood-bench-")))
        for dialect in chosen.stores or ["sqlite", "postgresql"]:
            url = f"sqlite:///{top / 'makegood.db'}"
            if dialect == "postgresql":
                url = chosen.postgresql_url
            if url is None:
                postgres = stack.enter_context(running_postgres(durable=True))
                url = postgres.url(postgres.create("bench"))
            migrate(url)
            results.append(asyncio.run(measure(url, chosen.receipts)))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
