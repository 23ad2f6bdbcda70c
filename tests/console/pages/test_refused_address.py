"""A repair URL with a refused address looks the same, whatever is behind its name."""

import re
import time
from functools import partial

import pytest
from structlog.testing import capture_logs
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.callback.send import CallbackActivities, CallbackRules
from activities.callback.transport import exchange
from activities.messages import SendCallback
from activities.slots import CallbackLimits, CallbackSlots
from api.console.composition import ConsoleDependencies
from egress.resolver import Resolver
from store.crypto.encryption import Sealer
from tests.activities.callback.endpoints import SOURCES
from tests.activities.callback.test_transport import resolving
from tests.console.conftest import Visitor
from tests.egress.test_transport import unknown
from tests.support.given import Story

PRIVATE = "10.20.30.40"
BEHIND: dict[str, Resolver] = {
    "a private address": resolving(PRIVATE),
    "a public and a private one": resolving("93.184.216.34", PRIVATE),
    "no address": resolving(),
    "no such name": unknown,
}


async def attempted(story: Story, sealer: Sealer, resolver: Resolver) -> str:
    """An event whose repair was attempted once through the egress guard."""
    event_id, replay_id = await story.repairing()
    activities = CallbackActivities(
        story.database,
        sealer=sealer,
        transport=partial(exchange, allow=(), resolver=resolver),
        rules=CallbackRules(schedule=(0, 60), jitter=0),
        sources=SOURCES,
        slots=CallbackSlots(CallbackLimits(), time.monotonic),
        holder="worker-1",
    )
    with pytest.raises(ApplicationError, match="another follows"):
        await ActivityEnvironment().run(activities.send_callback, SendCallback(event_id, replay_id))
    return event_id


async def test_page_response_and_log_reveal_nothing_behind_the_host_name(
    story: Story, sealer: Sealer, parts: ConsoleDependencies, operator: Visitor
) -> None:
    async with story.database.reading() as session:
        story.at = await story.database.now(session)
    attempts, shown = [], []
    with capture_logs() as logs:
        for resolver in BEHIND.values():
            event_id = await attempted(story, sealer, resolver)
            event = await parts.operations.events.read_event(story.project.id, event_id)
            page = (await operator.client.get(f"/events/{event_id}")).text
            assert PRIVATE not in str(event) + page
            attempts.append(
                [(a.status, a.error_class, a.duration_ms) for a in event.repairs[0].attempts]
            )
            shown.append(re.findall(r'class="answer bad">([^<]*)<', page))

    assert attempts == [[(None, "no_permitted_address", 1000)]] * len(BEHIND)
    assert shown == [["The host has no address that Makegood may call"]] * len(BEHIND)
    assert PRIVATE not in str(logs)
    # The log of the installation distinguishes an unknown name from a refused address.
    reasons = [entry["reason"] for entry in logs if entry["event"] == "attempt_ended"]
    assert reasons == ["refused_address", "refused_address", "refused_address", "name_not_resolved"]
