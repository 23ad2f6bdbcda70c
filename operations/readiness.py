"""Decides the status and text of the checks of `/readyz`. Pure.

`/readyz` needs no key, so the texts contain nothing confidential. `api.health.routes` and
`makegood doctor` call it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum

from domain.temporal.problems import ProblemKind
from domain.values.clocks import clock_complaint
from domain.values.text import one_line
from store.maintenance.metrics import FailingAlerts
from store.sources.schedules import NotScheduled
from store.status.heartbeats import CLOCK, ENDED, Heartbeat

# Heartbeats come every 2 s. A busy or restarting worker may miss a few.
FRESH_SECONDS = 10.0
# Longer than a restart of the mail server takes.
ALERTS_FAIL_SECONDS = 300.0
# Crediting 1,000,000 receipts takes some minutes.
CREDIT_WARNING_SECONDS = 900.0
RESTART_STUCK = "`makegood receipt restart --stuck` restarts them."
FOREIGN_WORKERS = "Workers of another store take its tasks: `makegood doctor` names them."
PROBLEMS = {
    ProblemKind.UNREACHABLE: "A worker cannot reach Temporal.",
    ProblemKind.TLS: "A worker cannot open a TLS connection to Temporal.",
    ProblemKind.UNAUTHORIZED: "Temporal rejects a worker's credentials.",
    ProblemKind.NAMESPACE_MISSING: "The Temporal namespace of a worker does not exist.",
    ProblemKind.NAMESPACE_TAKEN: "A worker's Temporal namespace belongs to another installation.",
    ProblemKind.STORE_ELSEWHERE: (
        "A worker was given another namespace than the other workers of this store."
    ),
    ProblemKind.FAILED: "A worker has stopped working for Temporal.",
}


class CheckStatus(StrEnum):
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; `unknown` when another failed check prevents it."""

    name: str
    status: CheckStatus
    detail: str


def judge_runs(count: int | None) -> Check:
    """The check `runs`, by the number of stuck workflows; None when it could not be read."""
    if count is None:
        detail = "Unknown while the store does not answer or its tables are not current."
        return Check("runs", CheckStatus.UNKNOWN, detail)
    if count:
        detail = f"{count} receipts have a workflow that cannot go on: {RESTART_STUCK}"
        return Check("runs", CheckStatus.FAILED, detail)
    return Check("runs", CheckStatus.OK, "No workflow is known to be stuck.")


def judge_sources(unwell: Mapping[str, int] | None, not_scheduled: NotScheduled | None) -> Check:
    """The check `sources`, by the number of sources with each problem, and those whose Schedule at
    Temporal could not be changed; None: not read.

    It never fails: a provider that is down, or one project's key, must not affect the others.
    """
    if unwell is None or not_scheduled is None:
        detail = "Unknown while the store does not answer or its tables are not current."
        return Check("sources", CheckStatus.UNKNOWN, detail)
    counted = ", ".join(f"{count} {name}" for name, count in sorted(unwell.items()))
    details = [f"Failing or silent: {counted}." if unwell else "None is failing or silent."]
    if not_scheduled.retry_at is not None:
        at = f"{not_scheduled.retry_at.astimezone(UTC):%Y-%m-%d at %H:%M:%S} UTC"
        details.append(
            f"Sources whose Schedule at Temporal is not yet changed: {not_scheduled.count}. The"
            f" first is tried again on {at}."
        )
    return Check("sources", CheckStatus.OK, " ".join(details))


def judge_projects(silent: int | None) -> Check:
    """The check `projects`, by the number of silent projects and types; None: not read.

    It never fails: one project's app must not affect the others.
    """
    if silent is None:
        detail = "Unknown while the store does not answer or its tables are not current."
        return Check("projects", CheckStatus.UNKNOWN, detail)
    detail = f"{silent} without receipts for unusually long." if silent else "None is silent."
    return Check("projects", CheckStatus.OK, detail)


def judge_workers(heartbeats: Sequence[Heartbeat]) -> tuple[Check, Check]:
    """The checks `engine` (Temporal) and `worker`, from the workers' last heartbeats."""
    fresh = fresh_workers(heartbeats)
    if not fresh:
        return (
            Check("engine", CheckStatus.UNKNOWN, "Unknown, because no worker is alive."),
            Check("worker", CheckStatus.FAILED, "No worker was alive in the last 10 seconds."),
        )
    if not any(heartbeat.report.get("temporal_reachable") for heartbeat in fresh):
        detail = _temporal_problems(fresh) or "No worker reaches Temporal."
        unknown = f"{len(fresh)} alive. Unknown whether they take work until they reach Temporal."
        return (
            Check("engine", CheckStatus.FAILED, detail),
            Check("worker", CheckStatus.UNKNOWN, unknown),
        )
    foreign = (
        FOREIGN_WORKERS
        if any(heartbeat.report.get("foreign_workers") for heartbeat in fresh)
        else ""
    )
    notes = ("A worker reaches it.", _temporal_problems(fresh), foreign, _missing_features(fresh))
    temporal = Check("engine", CheckStatus.OK, " ".join(filter(None, notes)))
    polling = [heartbeat for heartbeat in fresh if heartbeat.report.get("pollers_alive")]
    if not polling:
        detail = "No living worker takes work from Temporal."
        return temporal, Check("worker", CheckStatus.FAILED, detail)
    # None means that Temporal accepts no canary from the worker, which proves nothing about it.
    if all(heartbeat.report.get("canary_fresh", False) is False for heartbeat in polling):
        detail = "No living worker has finished a canary in the last 60 seconds."
        return temporal, Check("worker", CheckStatus.FAILED, detail)
    return temporal, Check("worker", CheckStatus.OK, f"{len(fresh)} alive.")


def judge_alerts(found: FailingAlerts) -> Check:
    """The check `alerts`.

    It fails when alerts have failed for minutes or were given up, and none was sent meanwhile.
    While others are sent, the text mentions a few failing addresses and the check stays ok:
    one project's addresses must not affect the others.
    """
    if found.failing_seconds < ALERTS_FAIL_SECONDS and found.ended == 0:
        detail = f"{found.failing} are tried again." if found.failing else "None fails."
        return Check("alerts", CheckStatus.OK, detail)
    kind = f" ({one_line(found.error, longest=100)})" if found.error else ""
    detail = f"{found.failing} fail, the first for {found.failing_seconds / 60:.0f} minutes"
    detail += f"; {found.ended} ended unsent in the last 15 minutes{kind}."
    if found.last_sent_seconds is not None and found.last_sent_seconds < ALERTS_FAIL_SECONDS:
        return Check("alerts", CheckStatus.OK, f"{detail} Others are sent.")
    return Check("alerts", CheckStatus.FAILED, detail)


def _temporal_problems(workers: Sequence[Heartbeat]) -> str:
    """The kinds of the workers' problems with Temporal. Details name hosts, and this is public."""
    found = [heartbeat.report.get("temporal_problem") for heartbeat in workers]
    kinds = {str(problem.get("kind")) for problem in found if isinstance(problem, dict)}
    texts = [PROBLEMS[kind] for kind in ProblemKind if kind.value in kinds]
    return " ".join([*texts, "`makegood doctor` says how to repair it."]) if texts else ""


def _missing_features(workers: Sequence[Heartbeat]) -> str:
    """The optional features of Temporal that the workers do not have."""
    found = [
        lines for heartbeat in workers if isinstance(lines := heartbeat.report.get("missing"), list)
    ]
    missing = sorted({str(line).partition(":")[0] for lines in found for line in lines})
    return f"Temporal lacks optional features: {', '.join(missing)}." if missing else ""


def clock_complaints(heartbeats: Sequence[Heartbeat]) -> list[str]:
    """A sentence for each running process whose clock differs too much from the store's.

    They are warnings: no check relies on a host's clock.
    """
    complaints = (
        clock_complaint(heartbeat.process, heartbeat.report.get(CLOCK))
        for heartbeat in _fresh(heartbeats)
    )
    return [complaint for complaint in complaints if complaint]


def fresh_workers(heartbeats: Sequence[Heartbeat]) -> list[Heartbeat]:
    """The workers with a recent heartbeat that have not stopped."""
    return [heartbeat for heartbeat in _fresh(heartbeats) if heartbeat.role == "worker"]


def sum_reported(workers: Sequence[Heartbeat], name: str) -> int:
    """The sum of a count in the workers' reports; a worker without Temporal reports none."""
    return sum(count for worker in workers if isinstance(count := worker.report.get(name), int))


def outage_credit_warning(seconds: float | None) -> str:
    """A warning when crediting an outage takes unusually long; empty below 15 minutes."""
    if seconds is None or seconds < CREDIT_WARNING_SECONDS:
        return ""
    minutes = f"{seconds / 60:.0f} minutes"
    return f" Warning: an outage of ingest is still being credited to deadlines after {minutes}."


def _fresh(heartbeats: Sequence[Heartbeat]) -> list[Heartbeat]:
    return [
        heartbeat
        for heartbeat in heartbeats
        if heartbeat.age_seconds <= FRESH_SECONDS and not heartbeat.report.get(ENDED)
    ]
