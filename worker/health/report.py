"""Holds what a worker reports about its namespace: its id, why it cannot work there, what is
missing.

Each change sets `changed`, so that the next heartbeat is written at once. Filled by
`worker.membership` and `worker.connection_loop`, written to the store by `worker.health.heartbeat`.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from store.status.installation import NAMESPACE, NAMESPACE_ID
from worker.temporal.problems import Problem

log = structlog.get_logger(__name__)


class WorkerReport:
    """The report of one worker process."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._namespace: dict[str, object] = {}
        self._problem: Problem | None = None
        # what this process works without, by the check that found it
        self._missing: dict[str, tuple[str, ...]] = {}
        self._foreign_workers: tuple[str, ...] = ()
        self._additional: Callable[[], Mapping[str, object]] = dict

    def join(self, namespace_id: str, namespace: str) -> None:
        """Report that this process works in the namespace."""
        self._namespace = {NAMESPACE_ID: namespace_id, NAMESPACE: namespace}
        self._problem = None

    def is_in(self, namespace_id: str) -> bool:
        """Whether this process works in that namespace."""
        return self._namespace.get(NAMESPACE_ID) == namespace_id

    def leave_namespace(self) -> None:
        """Report that this process works in no namespace, because its namespace is gone."""
        self._namespace = {}
        self.changed.set()

    def leave(self, problem: Problem | None) -> None:
        """Report that this process does no work for Temporal, and why.

        None: it ends, which is no problem.
        """
        if problem is not None and (
            self._problem is None or problem.kind is not self._problem.kind
        ):
            log.warning(
                "temporal_not_ready",
                kind=problem.kind.value,
                reason=problem.detail,
                fix=problem.fix,
            )
        if problem != self._problem or self._namespace:
            self.changed.set()
        self._namespace, self._problem, self._missing, self._foreign_workers = {}, problem, {}, ()
        self._additional = dict

    def set_missing(self, check: str, missing: tuple[str, ...]) -> None:
        """Report what the check found missing and the worker works without.

        A change is logged once.
        """
        if missing == (before := self.missing(check)):
            return
        self._missing[check] = missing
        self.changed.set()
        (log.warning if missing else log.info)(
            "temporal_lacks", missing=list(missing), before=list(before)
        )

    def missing(self, check: str) -> tuple[str, ...]:
        """What that check found missing."""
        return self._missing.get(check, ())

    def set_foreign_workers(self, identities: tuple[str, ...]) -> None:
        """Report workers of another store that take tasks of this store's receipts.

        A change is logged once.
        """
        if identities != self._foreign_workers:
            self.changed.set()
            (log.warning if identities else log.info)(
                "foreign_workers_take_tasks", workers=list(identities)
            )
        self._foreign_workers = identities

    def include(self, additional: Callable[[], Mapping[str, object]]) -> None:
        """Call this for each heartbeat and include what it returns: JSON values by name."""
        self._additional = additional

    def as_json(self) -> dict[str, object]:
        """The report now, as JSON values by name."""
        report: dict[str, object] = {**self._namespace, **self._additional()}
        if missing := [line for lines in self._missing.values() for line in lines]:
            report["missing"] = missing
        if self._foreign_workers:
            report["foreign_workers"] = list(self._foreign_workers)
        if self._problem is not None:
            report["temporal_problem"] = self._problem.as_report()
        return report
