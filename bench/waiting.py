"""Measures the memory of many waiting receipts, and the rate of a burst of deadlines.

    python -m bench.waiting [--small] [--rounds 3] [--burst 300] [--skip-waiting]

1. One worker has none, 5,000, then 20,000 receipts that wait for their results. Its memory grows by
   less than 150 MiB over none, and by less than 25 MiB between the two. With 20,000 and 100 open
   incidents, each list of the console and of the REST interface answers within 300 ms, also the
   slowest of 20 calls.
2. Receipts with the same deadline open an incident each and mail it over SMTP. Minimal workflows
   of one timer and two empty activities take turns with them on the same dev server. The time runs
   from the deadline to the last accepted mail, and to the last completed workflow. Bound: at least
   70 % of the minimal rate.

`--small` uses 500 and 2,000 waiting receipts.
"""

import argparse
import asyncio
import re
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
from sqlalchemy import select
from temporalio.client import Client

from bench.figures import check_bound, check_ratio, print_spread
from bench.fill_store import fill, new_numbers
from bench.processes import (
    Installation,
    MailServer,
    api,
    install,
    mail_server,
    run_command,
    run_measurement,
    temporal_server,
    worker,
)
from bench.watch import connected, wait_for_first_tasks, wait_until
from store.db.database import Database
from store.receipts.outbox import count as count_outbox
from store.schema.tables import INCIDENTS, RECEIPTS

WAITING = (5_000, 20_000)
WAITING_SMALL = (500, 2_000)
MOST_GROWTH_MIB = 150.0
MOST_DIFFERENCE_MIB = 25.0
MOST_LIST_MS = 300.0
LEAST_BURST = 0.70
WEEK_SECONDS = 7 * 24 * 3600.0
LISTS = ("/incidents", "/events", "/api/v1/incidents?limit=100", "/api/v1/events?limit=100")
CALLS = 20
OPEN_INCIDENTS = 100
SETTLE_SECONDS = 3.0
STARTS_PER_SECOND = 12  # at least, on a machine with other work to do


async def wait_until_dispatched(database: Database, *, quiet: bool = False) -> None:
    """Wait until the outbox is empty, and print the progress every ten seconds."""
    printed_at = time.monotonic()

    async def is_outbox_empty() -> bool:
        nonlocal printed_at
        async with database.reading() as session:
            left = await count_outbox(session)
        if not quiet and time.monotonic() - printed_at > 10:
            printed_at = time.monotonic()
            print(f"    {left} receipts are still to be started", flush=True)
        return left == 0

    await wait_until(is_outbox_empty, what="every receipt started", seconds=1_800)


async def memory_while_waiting(installation: Installation, counts: tuple[int, ...]) -> list[float]:
    """The worker's memory in MiB with no waiting receipt, then with each of `counts`."""
    database = Database.open(installation.database_url)
    with worker(installation) as program:
        process = psutil.Process(program.process.pid)
        await open_incidents(installation, database)
        found, waiting = [mebibytes(process)], 0
        for count in counts:
            await fill(
                installation,
                "receipt",
                numbers=new_numbers(count - waiting),
                timeout_seconds=WEEK_SECONDS,
            )
            waiting = count
            await wait_until_dispatched(database)
            # the last workflows are still running their first task
            await asyncio.sleep(SETTLE_SECONDS)
            found.append(mebibytes(process))
            print(
                f"  worker with {count} waiting: {found[-1]:.0f} MiB (none: {found[0]:.0f} MiB)",
                flush=True,
            )
    await database.close()
    return found


async def open_incidents(installation: Installation, database: Database) -> None:
    """Open incidents for the lists. This also warms up the worker."""
    await fill(installation, "receipt", numbers=new_numbers(OPEN_INCIDENTS), timeout_seconds=1)

    async def all_are_open() -> bool:
        async with database.reading() as session:
            return len((await session.execute(select(INCIDENTS.c.id))).all()) == OPEN_INCIDENTS

    await wait_until(all_are_open, what="every incident open")


def lists_answer(installation: Installation) -> bool:
    """Call each list as a signed-in user or with an API key, and check the slowest call."""
    headers = {"Authorization": f"Bearer {installation.api_key}", "Accept": "application/json"}
    results = []
    with httpx.Client(base_url=installation.api_url, timeout=30, follow_redirects=True) as http:
        sign_in(http, installation)
        for path in LISTS:
            took_ms = []
            for _ in range(CALLS):
                began = time.perf_counter()
                response = http.get(path, headers=headers if path.startswith("/api") else {})
                took_ms.append((time.perf_counter() - began) * 1000)
                assert response.status_code == 200, response.text[:500]
                assert "/login" not in str(response.url), "nobody is signed in"
            print_spread(f"{path}", took_ms, "ms")
            results.append(
                check_bound(
                    f"{path}: the slowest of {CALLS}", max(took_ms), most=MOST_LIST_MS, unit="ms"
                )
            )
    return all(results)


def sign_in(http: httpx.Client, installation: Installation) -> None:
    """Open a one-time link and submit its form."""
    url = str(run_command(installation.environment, "user", "link", "--json")["url"])
    page = http.get(url).text
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page))
    assert fields, page
    http.post(
        "/login/link", data=fields, headers={"Origin": installation.api_url}
    ).raise_for_status()


def mebibytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


async def burst(
    installation: Installation, client: Client, mails: MailServer, count: int, seconds: float
) -> float:
    """Mailed incidents per second, from the common deadline on."""
    database = Database.open(installation.database_url)
    event_ids = await fill(
        installation, "receipt", numbers=new_numbers(count), timeout_seconds=seconds
    )
    await wait_until_dispatched(database, quiet=True)
    await wait_for_first_tasks(client, [f"receipt-{event_id}" for event_id in event_ids])
    started_at = datetime.now(UTC)
    opened = select(INCIDENTS.c.id, RECEIPTS.c.timeout_at).where(
        INCIDENTS.c.event_id == RECEIPTS.c.event_id, RECEIPTS.c.event_id.in_(event_ids)
    )

    async def all_are_mailed() -> bool:
        async with database.reading() as session:
            incident_ids = {row.id for row in await session.execute(opened)}
        return len(incident_ids) == count and incident_ids <= mails.accepted().keys()

    async with database.reading() as session:
        due_at = (
            await session.execute(
                select(RECEIPTS.c.timeout_at).where(RECEIPTS.c.event_id == event_ids[-1])
            )
        ).scalar_one()
    assert started_at < due_at, "not all receipts were started before their deadline: lower --burst"
    await asyncio.sleep((due_at - datetime.now(UTC) + timedelta(seconds=1)).total_seconds())
    await wait_until(all_are_mailed, what="every incident mailed")
    async with database.reading() as session:
        incident_ids = [row.id for row in await session.execute(opened)]
    await database.close()
    accepted = mails.accepted()
    return (
        count
        / (max(accepted[incident_id] for incident_id in incident_ids) - due_at).total_seconds()
    )


async def burst_of_ours(
    installation: Installation, temporal: str, mails: MailServer, count: int, seconds: float
) -> float:
    async with connected(temporal) as client:
        with worker(installation):
            await burst(installation, client, mails, 20, 5)  # warm-up
            return await burst(installation, client, mails, count, seconds)


def measure_bursts(directory: Path, count: int, rounds: int) -> bool:
    """Run minimal and ours in turn, each with one worker process and no other."""
    seconds = 5 + count / STARTS_PER_SECOND
    ours: list[float] = []
    minimal: list[float] = []
    with (
        temporal_server(directory / "temporal-burst") as temporal,
        mail_server(directory / "mail") as mails,
    ):
        installation = install(directory / "burst", temporal=temporal, smtp_port=mails.port)
        for number in range(rounds):
            arguments = ("--temporal", temporal, "--count", str(count), "--seconds", str(seconds))
            driven = run_measurement("bench.minimal_driver", "deadlines", *arguments)
            assert not driven["late"], (
                "not all minimal workflows were started before their deadline: lower --burst"
            )
            minimal.append(driven["rate"])
            ours.append(asyncio.run(burst_of_ours(installation, temporal, mails, count, seconds)))
            print(
                f"  round {number + 1}: minimal {minimal[-1]:.1f}, ours {ours[-1]:.1f} /s",
                flush=True,
            )
    print_spread("minimal: one timer, two empty activities", minimal, "/s")
    print_spread("ours: deadline, incident stored, mail accepted", ours, "/s")
    return check_ratio("ours / minimal", ours, minimal, least=LEAST_BURST)


def measure_waiting(directory: Path, counts: tuple[int, ...]) -> bool:
    with temporal_server(directory / "temporal-waiting") as temporal:
        installation = install(directory / "waiting", temporal=temporal)
        none, *found = asyncio.run(memory_while_waiting(installation, counts))
        name = f"worker's growth with {counts[-1]} waiting over none"
        results = [check_bound(name, max(found) - none, most=MOST_GROWTH_MIB, unit="MiB")]
        name = f"between {counts[0]} and {counts[-1]} waiting"
        results.append(
            check_bound(name, abs(found[-1] - found[0]), most=MOST_DIFFERENCE_MIB, unit="MiB")
        )
        with api(installation):
            results.append(lists_answer(installation))
    return all(results)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--burst", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-waiting", action="store_true")
    parser.add_argument("--skip-burst", action="store_true")
    chosen = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="makegood-bench-") as directory:
        if not chosen.skip_burst:
            results.append(measure_bursts(Path(directory), chosen.burst, chosen.rounds))
        if not chosen.skip_waiting:
            results.append(
                measure_waiting(Path(directory), WAITING_SMALL if chosen.small else WAITING)
            )
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
