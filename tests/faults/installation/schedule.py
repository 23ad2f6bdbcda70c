"""Which fault strikes when: a plan drawn from a seed, and how each is done to an installation and
undone.

A fault is in the history from the moment it begins until what it hit is at work again.
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
    """What happens to whom, `at` seconds after the load began, for how long (a kill:

    until it is started again).
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
    """So many kills spread over the time, each target in turn; with `is_full` one of each other
    fault as well.
    """
    draw = random.Random(seed + 1)
    struck = [("kill", targets[number % len(targets)], 0.0) for number in range(kills)]
    if is_full:
        struck += [("stop", target, STOP_SECONDS) for target in targets]
        struck += [
            (kind, "store", OTHER_SECONDS)
            for kind in ("store_away", "store_read_only", "disk_full")
        ]
        struck += [
            (f"mail_{mode.value}", "mail", OTHER_SECONDS)
            for mode in MailMode
            if mode is not MailMode.WELL
        ]
        struck += [
            (f"calls_{mode.value}", "endpoint", OTHER_SECONDS)
            for mode in CallMode
            if mode is not CallMode.WELL
        ]
        if not can_fill_disk:
            struck.remove(("disk_full", "store", OTHER_SECONDS))
    draw.shuffle(struck)
    share = over_seconds / max(1, len(struck))
    return [
        Fault(number, share * (number + draw.uniform(0.1, 0.9)), kind, target, lasts)
        for number, (kind, target, lasts) in enumerate(struck)
    ]


def store_takes_no_writes(*, over_seconds: float) -> Fault:
    """For a while, in the second half. No tenant causes it, so the run alone has it too."""
    return Fault(0, over_seconds * 0.55, "store_read_only", "store", OTHER_SECONDS)


def mail_is_silent(seconds: float, *, over_seconds: float) -> Fault:
    """For long, early: an effect of other tenants."""
    return Fault(1, over_seconds * 0.2, "mail_hangs", "mail", seconds)


async def strike_all(faults: list[Fault], built: Installation) -> None:
    """Each at its time; returns when the last has healed."""
    began = asyncio.get_running_loop().time()

    async def strike_in_time(fault: Fault) -> None:
        await asyncio.sleep(max(0.0, began + fault.at - asyncio.get_running_loop().time()))
        await strike(fault, built)

    # Two of a kind at the same place would heal each other.
    lanes: dict[str, list[Fault]] = {}
    for fault in sorted(faults, key=lambda fault: fault.at):
        lanes.setdefault(fault.target, []).append(fault)

    async def strike_one_by_one(lane: list[Fault]) -> None:
        for fault in lane:
            await strike_in_time(fault)

    await asyncio.gather(*(strike_one_by_one(lane) for lane in lanes.values()))


async def strike(fault: Fault, built: Installation) -> None:
    """Do it, and undo it."""
    name = f"{fault.number}-{fault.kind}-{fault.target}"
    built.history.note("fault_began", fault=name, kind=fault.kind, target=fault.target)
    try:
        await _do(fault, built)
    finally:
        built.history.note("fault_ended", fault=name, kind=fault.kind, target=fault.target)


async def _do(fault: Fault, built: Installation) -> None:
    seconds = fault.lasts_seconds
    match fault.kind.partition("_"):
        case ("kill", _, _):
            await _until_it_just_answered(fault.target, built)
            built.kept[fault.target].kill()
            await built.kept[fault.target].is_at_work()
        case ("stop", _, _):
            built.kept[fault.target].freeze()
            await asyncio.sleep(seconds)
            built.kept[fault.target].resume()
        case ("store", _, "away"):
            await _without_store(built, seconds)
        case ("store", _, "read_only"):
            await _with_read_only_store(built, seconds)
        case ("disk", _, "full"):
            await _with_full_disk(built.store_directory, seconds)
            if "postgres" in built.kept:
                await built.kept["postgres"].is_at_work()
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


async def _until_it_just_answered(target: str, built: Installation) -> None:
    """An API is killed right after it said yes to a receipt, if it does so before long:

    what else would it lose.
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
    if "postgres" in built.kept:
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
    """Done, as soon as the server is there to do it: another fault may have struck it."""

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
    """PostgreSQL is gone for a while; of SQLite, somebody else holds the writer's place for longer
    than anyone waits.
    """
    if "postgres" in built.kept:
        postgres = built.kept["postgres"]
        postgres.pause_seconds, usual = seconds, postgres.pause_seconds
        postgres.kill()
        await asyncio.sleep(seconds)
        postgres.pause_seconds = usual
        await postgres.is_at_work()
        return
    connection = sqlite3.connect(
        built.store_directory / "makegood.db", isolation_level=None, timeout=0
    )

    def is_held() -> bool:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True

    await wait_until_async(is_held, seconds=20, what="the writer's place is free for a moment")
    await asyncio.sleep(seconds)
    connection.execute("ROLLBACK")
    connection.close()


async def _with_full_disk(directory: Path, seconds: float) -> None:
    """Fill the store's file system to its last blocks, again and again:

    what is freed meanwhile is taken at once.
    """
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
