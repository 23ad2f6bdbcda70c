"""Temporal's dev server for tests, whose time can be skipped, and its command line."""

import sys
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

TEMPORAL = Path(sys.executable).parent / "temporal"
# Temporal suggests continue-as-new after 100 events, so that a test can reach it.
DYNAMIC = (
    "frontend.WorkflowTimeSkippingEnabled=true",
    "limit.historyCount.suggestContinueAsNew=100",
)
TEMPORAL_ARGS = [argument for value in DYNAMIC for argument in ("--dynamic-config-value", value)]


async def start_temporal() -> WorkflowEnvironment:
    """Start the dev server, whose time can be skipped."""
    return await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=str(TEMPORAL), dev_server_extra_args=TEMPORAL_ARGS, ui=False
    )
