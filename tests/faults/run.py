"""One run of the harness:

an installation, a load, faults, quiet, and what the checker makes of the recorded history.
"""

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from temporalio.client import Client
from temporalio.service import RPCError

from tests.faults.installation.history import History
from tests.faults.installation.installation import (
    SCHEDULE_SECONDS,
    Installation,
    StoreKind,
    installation,
)
from tests.faults.installation.orders import plan_orders
from tests.faults.installation.other_tenants import Crowd, OtherTenants
from tests.faults.installation.schedule import (
    mail_is_silent,
    plan_faults,
    store_takes_no_writes,
    strike_all,
)
from tests.faults.rules.checker import check
from tests.faults.rules.verdict import MEANINGS, Bounds, Verdict

STILL_SECONDS = 3.0
LOOK_SECONDS = 0.5
STRUCK_SHARE = 0.8  # what comes after shows how late a calm installation is
DISK_BYTES = 400 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does. The load and the faults take `over_seconds`; `deadlines` are of the orders
    that miss theirs.

    `killed` names the processes that are killed in turn, without it all; `planted` a bug of
    `tests.faults.rules.planted`. With a `crowd`, other tenants are busy all the time, and the mail
    server is silent for long. Where the same orders run with a crowd and alone (`is_compared`), the
    store takes no writes for a while in
    both.
    """

    store: StoreKind
    seed: int
    receipts: int
    kills: int
    over_seconds: float
    deadlines: tuple[float, float] = (4.0, 15.0)
    killed: tuple[str, ...] = ()
    is_full: bool = False
    quiet_seconds: float = 60.0
    planted: str | None = None
    clock_off: Mapping[str, str] | None = None
    crowd: Crowd | None = None
    is_compared: bool = False
    name: str = ""


def judged(plan: Plan, saved_in: Path, *, say: Callable[[str], None]) -> tuple[History, Verdict]:
    """Run it, leave its history in the directory, however it ended, and have it judged."""
    saved_in.mkdir(parents=True, exist_ok=True)
    history = History()
    try:
        signing_secret = asyncio.run(run(plan, history, say=say))
    finally:
        history.save(saved_in / f"{plan.planted or plan.name or plan.store}.jsonl")
    verdict = check(
        history,
        signing_secrets=(signing_secret,),
        bounds=Bounds(callback_attempts=len(SCHEDULE_SECONDS)),
    )
    say(describe(verdict))
    return history, verdict


async def run(plan: Plan, history: History, *, say: Callable[[str], None]) -> str:
    """Write what happens into the history; the signing secret of its callbacks."""
    other_tenants: OtherTenants | None = None

    async def let_in(built: Installation) -> None:
        nonlocal other_tenants
        if plan.crowd is not None:
            say(f"{plan.store}: {plan.crowd.waiting} receipts of another tenant are stored first")
            other_tenants = OtherTenants(built, plan.crowd, plan.seed)
            await other_tenants.arrive()
            built.waiting_outbox_rows = plan.crowd.waiting

    with _directories(can_fill=plan.is_full) as (directory, store_directory, can_fill):
        async with installation(
            directory,
            plan.store,
            history,
            store_directory=store_directory,
            planted=plan.planted,
            clock_off=plan.clock_off,
            before_work=let_in,
        ) as built:
            say(f"{plan.store}: at work in {directory}")
            await _load_and_strike(plan, built, other_tenants, can_fill=can_fill, say=say)
            await _settle(built, quiet_seconds=plan.quiet_seconds, say=say)
            for event in await built.merchant.events():
                history.note("observed", event=event)
            if other_tenants is not None:
                for what in await other_tenants.judge():
                    history.note("other_tenant_harmed", what=what)
                say(
                    f"other tenants: {other_tenants.signalled} wrong signals, searches answered"
                    f" {dict(other_tenants.searched)}"
                )
            return built.signing_secret


async def _load_and_strike(
    plan: Plan,
    built: Installation,
    other_tenants: OtherTenants | None,
    *,
    can_fill: bool,
    say: Callable[[str], None],
) -> None:
    orders = plan_orders(
        plan.receipts, over_seconds=plan.over_seconds, deadlines=plan.deadlines, seed=plan.seed
    )
    faults = plan_faults(
        plan.killed or tuple(built.kept),
        kills=plan.kills,
        over_seconds=plan.over_seconds * STRUCK_SHARE,
        seed=plan.seed,
        is_full=plan.is_full,
        can_fill_disk=can_fill,
    )
    if plan.is_compared:
        faults.append(store_takes_no_writes(over_seconds=plan.over_seconds))
    if plan.crowd is not None:
        faults.append(mail_is_silent(plan.crowd.mail_hangs_seconds, over_seconds=plan.over_seconds))
    operator = asyncio.create_task(built.merchant.operate())
    progress = asyncio.create_task(_report_progress(built.history, plan, say))
    try:
        work = [built.merchant.trade(orders), strike_all(faults, built)]
        if other_tenants is not None:
            work.append(other_tenants.live(plan.over_seconds))
        await asyncio.gather(*work)
        await _until_due(built.history, plan)
    finally:
        operator.cancel()
        progress.cancel()
        await asyncio.gather(operator, progress, return_exceptions=True)


async def _until_due(history: History, plan: Plan) -> None:
    """Until every deadline that was to be missed has passed:

    the longest counts from the last receipt that was accepted.
    """
    accepted = [
        entry.at
        for entry in history.of("answered")
        if entry["status"] == 202 and "timeout_at" in entry["body"]
    ]
    await asyncio.sleep(max(0.0, max(accepted, default=0.0) + plan.deadlines[1] - time.time()))


async def _settle(built: Installation, *, quiet_seconds: float, say: Callable[[str], None]) -> None:
    """Wait until nothing is left to do, at most so long; what is left then is in the history."""
    say("quiet: waiting until nothing is left to do")
    began = time.monotonic()
    outbox, stuck = -1, ["never looked"]
    while time.monotonic() - began < quiet_seconds:
        try:
            outbox, is_more_left = await built.left_to_do()
        except httpx.TransportError:
            continue  # It was too busy to say: not settled yet.
        moved = built.history.of("mail", "callback", "answered")
        is_still = not moved or time.time() - moved[-1].at > STILL_SECONDS
        if outbox == 0 and not is_more_left and is_still:
            stuck = await _stuck_workflows(built.temporal_address)
            if not stuck:
                break
        await asyncio.sleep(LOOK_SECONDS)
    built.merchant.ends.set()
    built.history.note(
        "settled", seconds=round(time.monotonic() - began, 1), outbox=outbox, stuck=stuck
    )


async def _stuck_workflows(address: str) -> list[str]:
    """Open workflows whose task was begun again and again, or waits for a worker while nothing else
    is left to do.
    """
    client = await Client.connect(address)
    stuck = []
    try:
        async for found in client.list_workflows(
            "ExecutionStatus = 'Running' AND WorkflowType = 'receipt'"
        ):
            described = (await client.get_workflow_handle(found.id).describe()).raw_description
            if described.HasField("pending_workflow_task"):
                stuck.append(found.id)
    except RPCError as error:
        return [f"Temporal does not answer: {error.message}"]
    return stuck


async def _report_progress(history: History, plan: Plan, say: Callable[[str], None]) -> None:
    began = time.monotonic()
    while True:
        await asyncio.sleep(5.0)
        accepted = {
            entry["body"]["event_id"]
            for entry in history.of("answered")
            if "timeout_at" in entry["body"]
        }
        begun, ended = len(history.of("fault_began")), len(history.of("fault_ended"))
        say(
            f"{time.monotonic() - began:6.0f} s  {len(accepted):5d} of {plan.receipts} receipts "
            f" {begun:3d} faults, {begun - ended} at work  {len(history.of('unknown')):4d}"
            f" unanswered  {len(history.of('mail')):5d} mails  {len(history.of('callback')):5d}"
            " callbacks"
        )


def describe(verdict: Verdict) -> str:
    """The verdict as lines of text:

    whether it held, the figures, and the first violations of each rule.
    """
    lines = [
        (
            "the promise held"
            if verdict.held
            else f"THE PROMISE DID NOT HOLD: {len(verdict.violations)} violations"
        )
    ]
    lines += [f"  {name}: {count}" for name, count in verdict.counts.items()]
    lines += [f"  {kind}: {count}" for kind, count in verdict.faults.items()]
    for late in verdict.lateness:
        lines.append(
            f"  {late.name}: p50 {late.p50:.2f} s, p99 {late.p99:.2f} s, max {late.max:.2f} s of"
            f" {late.count}"
        )
    for rule in dict.fromkeys(violation.rule for violation in verdict.violations):
        violations = verdict.violated(rule)
        lines.append(f"{rule}: {len(violations)} times. {MEANINGS[rule]}")
        lines += [f"    {violation.what} {' '.join(violation.ids)}" for violation in violations[:5]]
    return "\n".join(lines)


@contextmanager
def _directories(*, can_fill: bool) -> Iterator[tuple[Path, Path, bool]]:
    """One for the run and one for its store, on a small file system of its own where that can be
    had: Linux, as root.
    """
    with tempfile.TemporaryDirectory(prefix="makegood-faults-", ignore_cleanup_errors=True) as name:
        directory, store = Path(name), Path(name) / "store"
        store.mkdir()
        directory.chmod(0o755)
        mount = ("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "makegood-faults", str(store))
        is_mounted = (
            can_fill
            and os.geteuid() == 0
            and subprocess.run(mount, capture_output=True, check=False).returncode == 0
        )
        store.chmod(0o755)
        try:
            yield directory, store, is_mounted
        finally:
            if is_mounted:
                subprocess.run(("umount", "--lazy", str(store)), check=False, capture_output=True)
