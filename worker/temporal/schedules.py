"""Makes, changes, triggers, lists and deletes the Temporal Schedules of sources, alone.

A Schedule holds ids only. Overlap is SKIP: while a listing runs, none is started.
"""

import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from activities.messages import ListSource
from domain.ids import SourceId
from domain.sources.source import is_source_id
from worker.temporal.problems import RPC_SECONDS
from workflows.source_listing import SOURCE_LISTING, SOURCE_TASK_QUEUE, schedule_id

# Times that were missed while Temporal was down. One listing makes up for all of them.
CATCH_UP = timedelta(minutes=1)
TASK_SECONDS = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class ScheduledSource:
    """A source that has a Schedule."""

    source_id: SourceId
    is_paused: bool


async def put_schedule(
    client: Client, source_id: str, *, every_minutes: int, is_paused: bool
) -> None:
    """Create the source's Schedule, or make it so.

    Raises: RPCError: Temporal does not answer, or refuses.
    """
    schedule = _schedule(source_id, every_minutes, is_paused)
    try:
        await client.create_schedule(schedule_id(source_id), schedule, rpc_timeout=RPC_SECONDS)
    except ScheduleAlreadyRunningError:
        handle = client.get_schedule_handle(schedule_id(source_id))

        def changed(_: ScheduleUpdateInput) -> ScheduleUpdate:
            return ScheduleUpdate(schedule)

        await handle.update(changed, rpc_timeout=RPC_SECONDS)


async def trigger_schedule(client: Client, source_id: str) -> None:
    """Start a listing now, unless one runs. Raises: RPCError."""
    handle = client.get_schedule_handle(schedule_id(source_id))
    await handle.trigger(overlap=ScheduleOverlapPolicy.SKIP, rpc_timeout=RPC_SECONDS)


async def delete_schedule(client: Client, source_id: str) -> None:
    """Delete the source's Schedule, if there is one. Raises: RPCError."""
    try:
        await client.get_schedule_handle(schedule_id(source_id)).delete(rpc_timeout=RPC_SECONDS)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


async def scheduled_sources(client: Client) -> AsyncIterator[ScheduledSource]:
    """The sources that have a Schedule. Raises: RPCError."""
    async for listed in await client.list_schedules(rpc_timeout=RPC_SECONDS):
        # Others may have Schedules in the same namespace.
        source_id = listed.id.removeprefix(schedule_id(""))
        if listed.id == schedule_id(source_id) and is_source_id(source_id):
            is_paused = listed.schedule is not None and listed.schedule.state.paused
            yield ScheduledSource(SourceId(source_id), is_paused)


def _schedule(source_id: str, every_minutes: int, is_paused: bool) -> Schedule:
    every = timedelta(minutes=every_minutes)
    # Intervals count from 1970: without an offset, all sources would list at the same moment.
    offset = timedelta(seconds=zlib.crc32(source_id.encode()) % every.total_seconds())
    return Schedule(
        action=ScheduleActionStartWorkflow(
            SOURCE_LISTING,
            ListSource(source_id),
            id=f"{SOURCE_LISTING}-{source_id}",
            task_queue=SOURCE_TASK_QUEUE,
            task_timeout=TASK_SECONDS,
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every, offset)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
        state=ScheduleState(paused=is_paused, note="Makegood follows the source: change it there"),
    )
