"""Assertions on the commands of the workflow. Their failure message explains how to change them."""

from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

LESSON = """
The commands of the workflow changed in the scenario {name!r}. Workflows that are running now would
break. If the change is intended:
  1. put the change behind `if workflow.patched("a-name-for-it"):` in workflows/receipt.py, the old
     commands in its else;
  2. keep the old recording:
     git mv tests/histories/{name}.json tests/histories/{name}_before_a_name_for_it.json;
  3. record the new history: .venv/bin/python -m tests.histories.record {name}
  4. run this test again, and commit the workflow, both histories and fingerprint.json together.
If it is not intended, restore the workflow's order of timers, activities and upserts:
  committed: {committed}
  now:       {now}
"""


def assert_same_commands(name: str, *, committed: list[str], now: list[str]) -> None:
    """Fail with the lesson if a scenario's commands differ from the committed fingerprint."""
    assert now == committed, LESSON.format(name=name, committed=committed, now=now)


async def assert_replays(
    name: str, history: WorkflowHistory, *, committed: list[str], by: type
) -> None:
    """Fail with the lesson if the present workflow cannot replay a recorded run."""
    try:
        await Replayer(workflows=[by]).replay_workflow(history)
    except workflow.NondeterminismError as error:
        raise AssertionError(
            LESSON.format(name=name, committed=committed, now=f"its replay breaks: {error}")
        ) from error
