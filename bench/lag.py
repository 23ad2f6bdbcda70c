"""Measures the delay from commit to workflow start, and from deadline to incident and to mail.

    python -m bench.lag [--seconds 20] [--rounds 3]

It uses the API over HTTP, one worker, Temporal's dev server and a real SMTP server on one machine:

1. 20 receipts/s: from the store's `accepted_at` to Temporal's start time of the workflow, p99 under
   500 ms.
2. 10 deadlines/s: from `timeout_at` to the incident's `opened_at`, p99 under 1 s, and to the time
   at which the SMTP server accepted the mail, p99 under 3 s.

The bounds are absolute and must hold in the median round.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from statistics import median

import httpx
from sqlalchemy import select
from temporalio.client import Client

from bench.figures import check_bound, p99, print_spread
from bench.fill_store import new_numbers
from bench.load import receipt_body
from bench.processes import (
    Installation,
    MailServer,
    api,
    install,
    mail_server,
    temporal_server,
    worker,
)
from bench.watch import connected, wait_until
from store.db.database import Database
from store.schema.tables import INCIDENTS, RECEIPTS

RECEIPTS_PER_SECOND = 20.0
DEADLINES_PER_SECOND = 10.0
DEADLINE_SECONDS = 3.0
MOST_START_MS = 500.0
MOST_INCIDENT_MS = 1_000.0
MOST_MAIL_MS = 3_000.0


async def send(
    installation: Installation, *, per_second: float, seconds: float, timeout_minutes: float
) -> list[str]:
    """Post receipts at an even rate, independent of the responses. Returns the event ids."""
    loop, count = asyncio.get_running_loop(), int(per_second * seconds)
    began_at = loop.time()
    headers = {
        "Authorization": f"Bearer {installation.api_key}",
        "Accept": "application/json",
        "Content-Type": "application/json",
    }
    async with httpx.AsyncClient(
        base_url=installation.api_url, headers=headers, timeout=30
    ) as http:

        async def post(index: int, number: str) -> str:
            await asyncio.sleep(max(0.0, began_at + index / per_second - loop.time()))
            body = receipt_body(number)[:-1] + f', "timeout_minutes": {timeout_minutes}}}'.encode()
            response = await http.post(
                "/api/v1/receipt", content=body, headers={"Idempotency-Key": number}
            )
            assert response.status_code == 202, response.text
            return str(response.json()["event_id"])

        return await asyncio.gather(
            *(post(i, number) for i, number in enumerate(new_numbers(count)))
        )


async def start_lags(
    installation: Installation, client: Client, database: Database, seconds: float
) -> list[float]:
    """Milliseconds from each commit to its workflow's start."""
    event_ids = await send(
        installation, per_second=RECEIPTS_PER_SECOND, seconds=seconds, timeout_minutes=30
    )
    started: dict[str, datetime] = {}

    async def all_have_started() -> bool:
        async for found in client.list_workflows("WorkflowType = 'receipt'", page_size=1000):
            started.setdefault(found.id.removeprefix("receipt-"), found.start_time)
        return started.keys() >= set(event_ids)

    await wait_until(all_have_started, what="every workflow started")
    async with database.reading() as session:
        rows = await session.execute(
            select(RECEIPTS.c.event_id, RECEIPTS.c.accepted_at).where(
                RECEIPTS.c.event_id.in_(event_ids)
            )
        )
        return _milliseconds((row.accepted_at, started[row.event_id]) for row in rows)


async def deadline_lags(
    installation: Installation, database: Database, mails: MailServer, seconds: float
) -> tuple[list[float], list[float]]:
    """Milliseconds from each deadline to the incident, and to its mail."""
    minutes = DEADLINE_SECONDS / 60
    event_ids = await send(
        installation, per_second=DEADLINES_PER_SECOND, seconds=seconds, timeout_minutes=minutes
    )
    opened = select(RECEIPTS.c.timeout_at, INCIDENTS.c.opened_at, INCIDENTS.c.id).where(
        INCIDENTS.c.event_id == RECEIPTS.c.event_id, RECEIPTS.c.event_id.in_(event_ids)
    )

    async def all_are_mailed() -> bool:
        async with database.reading() as session:
            incident_ids = {row.id for row in await session.execute(opened)}
        return len(incident_ids) == len(event_ids) and incident_ids <= mails.accepted().keys()

    await wait_until(all_are_mailed, what="every incident mailed")
    async with database.reading() as session:
        rows = (await session.execute(opened)).all()
    accepted = mails.accepted()
    return _milliseconds((row.timeout_at, row.opened_at) for row in rows), _milliseconds(
        (row.timeout_at, accepted[row.id]) for row in rows
    )


async def measure(
    installation: Installation, temporal: str, mails: MailServer, *, seconds: float, rounds: int
) -> dict[str, list[list[float]]]:
    """The lags in milliseconds by kind, with a list for each round."""
    lags: dict[str, list[list[float]]] = {"start": [], "incident": [], "mail": []}
    database = Database.open(installation.database_url)
    async with connected(temporal) as client:
        for number in range(rounds):
            lags["start"].append(await start_lags(installation, client, database, seconds))
            incident, mail = await deadline_lags(installation, database, mails, seconds)
            lags["incident"].append(incident)
            lags["mail"].append(mail)
            print(
                f"  round {number + 1}: p99 "
                + ", ".join(f"{name} {p99(of[-1]):.0f} ms" for name, of in lags.items()),
                flush=True,
            )
    await database.close()
    return lags


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="of sending, in each measurement"
    )
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="makegood-bench-") as directory,
        temporal_server(Path(directory) / "temporal") as temporal,
        mail_server(Path(directory) / "mail") as mails,
    ):
        installation = install(Path(directory) / "ours", temporal=temporal, smtp_port=mails.port)
        with api(installation), worker(installation):
            lags = asyncio.run(
                measure(installation, temporal, mails, seconds=chosen.seconds, rounds=chosen.rounds)
            )
    bounds = {
        "start": ("commit to workflow started", MOST_START_MS),
        "incident": ("timeout_at to incident stored", MOST_INCIDENT_MS),
        "mail": ("timeout_at to mail accepted", MOST_MAIL_MS),
    }
    results = []
    for kind, (name, most) in bounds.items():
        print_spread(f"{name}: p50", [median(of) for of in lags[kind]], "ms")
        print_spread(f"{name}: p99", [p99(of) for of in lags[kind]], "ms")
        results.append(
            check_bound(f"{name}: p99", median(p99(of) for of in lags[kind]), most=most, unit="ms")
        )
    return 0 if all(results) else 1


def _milliseconds(pairs: Iterable[tuple[datetime, datetime]]) -> list[float]:
    return [(later - earlier).total_seconds() * 1000 for earlier, later in pairs]


if __name__ == "__main__":
    sys.exit(main())
