"""Lists one source: one part after another until nothing more is due.

Temporal's Schedule of the source starts it; while a run is open, none is started. The activity does
the work and reads the clock. A wait that the provider asks for is a timer here, so that it holds no
worker.
"""

from dataclasses import replace
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.messages import LISTING_HEARTBEAT, ListingPart, ListSource
    from activities.sources.listing import SourceActivities

SOURCE_TASK_QUEUE = "makegood-sources"
SOURCE_LISTING = "source-listing"
# Longer than a part with the patience for its last page.
PART_TIMEOUT = timedelta(minutes=5)
# Without a limit: the store may be unavailable for hours. What the provider does is no failure.
PART_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1)
)
# A run then continues as new, with a short history.
PARTS_OF_A_RUN = 100


def schedule_id(source_id: str) -> str:
    """The id of a source's Schedule. It never changes."""
    return f"source-{source_id}"


@workflow.defn(name=SOURCE_LISTING)
class SourceListingWorkflow:
    """One listing of a source, until it has caught up."""

    @workflow.run
    async def run(self, order: ListSource) -> ListingPart:
        """List until nothing more is due. The result adds up the parts of this run."""
        pages = new = 0
        for _ in range(PARTS_OF_A_RUN):
            part = await workflow.execute_activity_method(
                SourceActivities.list_source,
                order,
                start_to_close_timeout=PART_TIMEOUT,
                heartbeat_timeout=LISTING_HEARTBEAT,
                retry_policy=PART_RETRIES,
                summary="List a part of the provider's events",
            )
            pages, new = pages + part.pages, new + part.new
            order = replace(order, complaint=part.complaint, circle=part.circle)
            if not part.has_more:
                return replace(part, pages=pages, new=new)
            if part.wait_seconds > 0:
                delay = timedelta(seconds=part.wait_seconds)
                await workflow.sleep(delay, summary="Wait as long as the provider asks")
        workflow.continue_as_new(order)
