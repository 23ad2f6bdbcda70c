"""Lists one source to its end, as a worker does, in a process of its own.

    python -m bench.list_source SOURCE_ID

It runs the worker's activity, at the worker's pace, part after part, without Temporal between them.
So its memory is that of the listing alone. It prints one JSON line last.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from temporalio.testing import ActivityEnvironment
from uvicorn.loops.auto import auto_loop_factory

from activities.messages import ListingPart, ListSource
from activities.sources.listing import SourceActivities
from config.logging import configure_logging
from config.settings import Settings
from domain.ids import SourceId
from worker.build import build_source_activities
from worker.main import build_dependencies

STATUS = Path("/proc/self/status")


async def list_source(activities: SourceActivities, source_id: SourceId) -> dict[str, float]:
    """List all that is due, and print when it begins.

    `new` events were stored. By `more_mb` the resident memory grew at most; `left_mb` are left.
    """
    print("listing_begins", flush=True)
    before_mb = _memory_mb("VmRSS")
    started = time.perf_counter()
    part = ListingPart(has_more=True)
    new = pages = 0
    while part.has_more:
        order = ListSource(source_id, complaint=part.complaint, circle=part.circle)
        part = await ActivityEnvironment().run(activities.list_source, order)
        new, pages = new + part.new, pages + part.pages
        await asyncio.sleep(part.wait_seconds)
    seconds = time.perf_counter() - started
    peak_mb = _memory_mb("VmHWM")
    return {
        "new": new,
        "pages": pages,
        "seconds": seconds,
        "peak_mb": peak_mb,
        "more_mb": peak_mb - before_mb,
        "left_mb": _memory_mb("VmRSS") - before_mb,
    }


async def _run(source_id: SourceId) -> dict[str, float]:
    dependencies = build_dependencies(Settings())
    try:
        return await list_source(build_source_activities(dependencies), source_id)
    finally:
        await dependencies.database.close()


def _memory_mb(name: str) -> float:
    """The resident memory of this process now (`VmRSS`), or its peak since it began (`VmHWM`)."""
    (line,) = [one for one in STATUS.read_text().splitlines() if one.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024


def main() -> None:
    configure_logging("warning", "json", role="worker")
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        figures = runner.run(_run(SourceId(sys.argv[1])))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
