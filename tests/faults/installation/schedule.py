"""Plans faults from a seed, and injects each into an installation and heals it.

The history has the start of a fault, and its end: when the target is ready again.
"""

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.faults.installation.installation import Installation
from tests.faults.installation.sinks import CallMode, MailMode
from tests.support.waiting import wait_until_async

STOP_SECONDS = 30.0
OTHER_SECONDS = 12.0
ANSWER_SECONDS = 3.0
SPARE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Fault:
    """A planned fault: `at` is in seconds after the load began.

    `lasts_seconds` is 0 for a kill, which lasts until the process is ready again.
    """

    number: int
    at: float
    kind: str
    target: str
    lasts_seconds: float = 0.0


def plan_faults(
    targets: Sequence[str],
    *,
    kills: int,
    over_seconds: float,
    seed: int,
    is_full: bool,
    can_fill_disk: bool,
) -> list[Fault]:
    """`kills` kills, spread over the time, with the targets in turn.

    With `is_full`, also one of each other fault.
    """
    draw = random.Random(seed + 1)
    planned = [("kill", targets[number % len(targets)], 0.0) for number in range(kills)]
    if is_full:
        planned += [("stop", target, STOP_SECONDS) for target in targets]
        planned += [
            (kind, "store", OTHER_SECONDS)
            for kind in ("store_away", "store_read_only", "disk_full")
        ]
        planned += [
            (f"mail_{mode.value}", "mail", OTHER_SECONDS)
            for mode in MailMode
            if mode is not MailMode.WELL
        ]
        planned += [
            (f"calls_{mode.value}", "endpoint", OTHER_SECONDS)
            for mode in CallMode
            if mode is not CallMode.WELL
        ]
        if not can_fill_disk:
            planned.remove(("disk_full", "store", OTHER_SECONDS))
    draw.shuffle(planned)
    share = over_seconds / max(1, len(planned))
    return [
        Fault(number, share * (number + draw.uniform(0.1, 0.9)), kind, target, lasts)
        for number, (kind, target, lasts) in enumerate(planned)
    ]


def store_takes_no_writes(*, over_seconds: float) -> Fault:
    """A fault in the second half. No tenant causes it, so both compared runs have it."""
    return Fault(0, over_seconds * 0.55, "store_read_only", "store", OTHER_SECONDS)


def mail_is_silent(seconds: float, *, over_seconds: float) -> Fault:
    """A long, early fault of the mail server, which other tenants cause."""
    return Fault(1, over_seconds * 0.2, "mail_hangs", "mail", seconds)


async def inject_all(faults: list[Fault], built: Installation) -> None:
    """Inject each fault at its time; returns when the last one is healed."""
    began = asyncio.get_running_loop().time()

    async def inject_in_time(fault: Fault) -> None:
        await asyncio.sleep(max(0.0, began + fault.at - asyncio.get_running_loop().time()))
        await inject(fault, built)

    # One after another for each target: two faults of one kind would heal each other.
    by_target: dict[str, list[Fault]] = {}
    for fault in sorted(faults, key=lambda fault: fault.at):
        by_target.setdefault(fault.target, []).append(fault)

    async def inject_one_by_one(of_target: list[Fault]) -> None:
        for fault in of_target:
            await inject_in_time(fault)

    await asyncio.gather(*(inject_one_by_one(of_target) for of_target in by_target.values()))


async def inject(fault: Fault, built: Installation) -> None:
    """Inject the fault, heal it, and record both."""
    name = f"{fault.number}-{fault.kind}-{fault.target}"
    built.history.note("fault_began", fault=name, kind=fault.kind, target=fault.target)
    try:
        await _apply(fault, built)
    finally:
        built.history.note("fault_ended", fault=name, kind=fault.kind, target=fault.target)


async def _apply(fault: Fault, built: Installation) -> None:
    seconds = fault.lasts_seconds
    match fault.kind.partition("_"):
        case ("kill", _, _):
            await _wait_for_an_acknowledgement(fault.target, built)
            built.processes[fault.target].kill()
            await built.processes[fault.target].wait_until_ready()
        case ("stop", _, _):
            built.processes[fault.target].freeze()
            await asyncio.sleep(seconds)
            built.processes[fault.target].resume()
        case ("store", _, "away"):
            await _without_store(built, seconds)
        case ("store", _, "read_only"):
            await _with_read_only_store(built, seconds)
        case ("disk", _, "full"):
            await _with_full_disk(built.store_directory, seconds)
            if "postgres" in built.processes:
                await built.processes["postgres"].wait_until_ready()
        case ("mail", _, mode):
            built.mail.behave(MailMode(mode))
            await asyncio.sleep(seconds)
            built.mail.behave(MailMode.WELL)
        case ("calls", _, mode):
            built.endpoint.behave(CallMode(mode))
            await asyncio.sleep(seconds)
            built.endpoint.behave(CallMode.WELL)
        case _:
            raise AssertionError(f"no such fault: {fault.kind}")


async def _wait_for_an_acknowledgement(target: str, built: Installation) -> None:
    """Wait until an API has acknowledged a receipt, for a short time at most.

    A kill right after that shows whether the receipt was durable.
    """
    name, _, number = target.partition("-")
    if name != "api":
        return
    loop = asyncio.get_running_loop()
    until, asked_at = loop.time() + ANSWER_SECONDS, time.monotonic()
    while loop.time() < until and built.merchant.accepted_at.get(int(number) - 1, 0.0) < asked_at:  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def _with_read_only_store(built: Installation, seconds: float) -> None:
    """Make PostgreSQL read-only in every session at once, or move SQLite's file away."""
    if "postgres" in built.processes:
        await _administered(
            built.database_url, "ALTER SYSTEM SET default_transaction_read_only = on"
        )
        await asyncio.sleep(seconds)
        await _administered(built.database_url, "ALTER SYSTEM RESET default_transaction_read_only")
        return
    path = built.store_directory / "makegood.db"
    away = path.with_name("away.db")
    path.rename(away)
    await asyncio.sleep(seconds)
    away.rename(path)


async def _administered(url: str, statement: str) -> None:
    """Run the statement as soon as the server accepts it: it may have another fault now."""

    async def is_done() -> bool:
        with suppress(OSError, asyncpg.PostgresError):
            connection = await asyncpg.connect(url, timeout=3)
            for one in (
                "SET default_transaction_read_only = off",
                statement,
                "SELECT pg_reload_conf()",
            ):
                await connection.execute(one)
            await connection.close()
            return True
        return False

    await wait_until_async(is_done, seconds=90, what=f"PostgreSQL did {statement}")


async def _without_store(built: Installation, seconds: float) -> None:
    """PostgreSQL does not run, or another connection has SQLite's write lock.

    The lock is held longer than any process waits for it.
    """
    if "postgres" in built.processes:
        postgres = built.processes["postgres"]
        postgres.pause_seconds, usual = seconds, postgres.pause_seconds
        postgres.kill()
        await asyncio.sleep(seconds)
        postgres.pause_seconds = usual
        await postgres.wait_until_ready()
        return
    connection = sqlite3.connect(
        built.store_directory / "makegood.db", isolation_level=None, timeout=0
    )

    def is_locked() -> bool:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True

    await wait_until_async(is_locked, seconds=20, what="the write lock is free for a moment")
    await asyncio.sleep(seconds)
    connection.execute("ROLLBACK")
    connection.close()


async def _with_full_disk(directory: Path, seconds: float) -> None:
    """Fill the store's file system to its last blocks, and fill what is freed meanwhile."""
    filler = directory / "filler"
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    with filler.open("ab", buffering=0) as out:
        while loop.time() < until:
            with suppress(OSError):
                while True:
                    out.write(b"\0" * max(SPARE_BYTES, _free_bytes(directory) // 2))
            await asyncio.sleep(0.05)
    filler.unlink()


def _free_bytes(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize
