"""The order of the tests, and the process of xdist that each one runs in.

1. A process works through a whole file, or a whole group.
2. Tests that start whole installations are one group. It starts first.
3. Timed tests are the other group. It runs alone, in the last process, when all others are done.

The hooks of `tests/conftest.py` use it. A new test of one of these kinds is added to its list here.
"""

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# Tests that start whole installations wait for deadlines. One runs at a time: the group has a
# process of its own and starts first. All other tests have lower priority.
INSTALLATIONS = "installations"
INSTALLATION_TESTS = (
    "tests/faults/",
    "tests/cli/demo/test_run.py",
    "tests/cli/up/test_frozen_children.py",
    "tests/cli/up/test_terminal.py",
    "tests/test_lost_events.py",
    "tests/test_product.py",
    "tests/test_production.py",
    "tests/console/test_story.py",
    "tests/support/test_canaries.py",
)
# What is measured or bounded here is time on the clock: these run alone, when all others are done.
TIMED = "timed"
TIMED_TESTS = (
    "tests/activities/alerts/test_ends.py::test_silent_server",
    "tests/activities/alerts/test_slots.py",
    "tests/api/test_neighbours.py",
    "tests/cli/up/test_run.py",
    "tests/faults/test_races.py",
    "tests/faults/test_runs_ended_in_temporal.py",
    "tests/store/db/test_locks.py",
    "tests/worker/loops/test_stuck_runs.py::test_refused_receipts",
    "tests/worker/test_process.py::test_worker_that_no_longer_polls",
    "tests/workflows/test_purposes.py",
)


class Groups(LoadScopeScheduling):
    """Hands out whole files and groups, and the timed tests to the last process that is left."""

    def remove_node(self, node: WorkerController) -> str | None:
        """Forget a process of xdist that has ended.

        The timed tests wait for one that is the last: another may be that now.
        """
        crashed = super().remove_node(node)
        for other in self.nodes:
            self._reschedule(other)
        return crashed

    def _reschedule(self, node: WorkerController) -> None:
        others = [other for other in self.nodes if other is not node]
        if list(self.workqueue) != [TIMED] or not others or node.shutting_down:
            super()._reschedule(node)
        elif not all(other.shutting_down for other in others):
            node.shutdown()
        # Else it is the last: it goes on when the others have ended.

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """The group that the test belongs to, or else its file."""
    if nodeid.startswith(TIMED_TESTS):
        return TIMED
    if nodeid.startswith(INSTALLATION_TESTS):
        return INSTALLATIONS
    return nodeid.partition("::")[0]
