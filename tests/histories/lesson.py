"""What a release must learn when it changed the commands of the workflow: whether it did, and what to do about it."""

from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

LESSON = """
The commands of the workflow changed in the life {name!r}. Workflows that are running now would break on it. If that is meant:
  1. put the change behind `if workflow.patched("a-name-for-it"):` in workflows/receipt.py, the old commands in its else;
  2. keep the old recording: git mv tests/histories/{name}.json tests/histories/{name}_before_a_name_for_it.json;
  3. record anew: .venv/bin/python -m tests.histories.record {name}
  4. run this test again, and commit the workflow, both histories and fingerprint.json together.
If it is not meant, the workflow's order of timers, activities and upserts must go back to what it was:
  committed: {committed}
  now:       {now}
"""


def assert_same_commands(name: str, *, committed: list[str], now: list[str]) -> None:
    """Fail with the lesson when a life gives the engine other commands than those of the committed fingerprint."""
    assert now == committed, LESSON.format(name=name, committed=committed, now=now)


async def assert_replays(name: str, history: WorkflowHistory, *, committed: list[str], by: type) -> None:
    """Fail with the lesson when the workflow, as it is now, would break on a run that was recorded."""
    try:
        await Replayer(workflows=[by]).replay_workflow(history)
    except workflow.NondeterminismError as error:
        raise AssertionError(LESSON.format(name=name, committed=committed, now=f"its replay breaks: {error}")) from error
