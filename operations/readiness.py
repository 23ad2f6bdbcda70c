"""What the checks of `/readyz` say of what was found: pure judgements, whose words anybody may read.

Called by `api.health.routes`, and by doctor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from domain.temporal_problems import ProblemKind
from domain.values.clocks import clock_complaint
from domain.values.text import one_line
from store.maintenance.metrics import FailingAlerts
from store.status.heartbeats import CLOCK, ENDED, Beat

# Beats come every 2 s; a worker that is busy or restarting gets a few of them.
FRESH_SECONDS = 10.0
# A restart of the mail server is over by then.
ALERTS_FAIL_SECONDS = 300.0
# Crediting 1,000,000 receipts takes some minutes.
CREDIT_LASTS_SECONDS = 900.0
RESTART_STUCK = "`makegood receipt restart --stuck` restarts them."
STRANGERS = "Workers of another store take its tasks: `makegood doctor` names them."
PROBLEMS = {
    ProblemKind.UNREACHABLE: "A worker does not reach Temporal.",
    ProblemKind.TLS: "A worker has no TLS connection with Temporal.",
    ProblemKind.UNAUTHORIZED: "Temporal does not let a worker in.",
    ProblemKind.NAMESPACE_MISSING: "Temporal has no namespace of the name that a worker was given.",
    ProblemKind.NAMESPACE_TAKEN: "The namespace that a worker was given belongs to another installation.",
    ProblemKind.STORE_ELSEWHERE: "A worker was given another namespace than the other workers of this store.",
    ProblemKind.FAILED: "The work of a worker for Temporal ended.",
}


class CheckStatus(StrEnum):
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must work, and what was found; `unknown` where another check that failed hides it."""

    name: str
    status: CheckStatus
    detail: str


def judge_runs(count: int | None) -> Check:
    """The check of runs, by how many are known to be stuck; None: that could not be asked."""
    if count is None:
        return Check("runs", CheckStatus.UNKNOWN, "Not known while the store does not answer or its tables are not current.")
    if count:
        return Check("runs", CheckStatus.FAILED, f"{count} receipts have a workflow that cannot go on: {RESTART_STUCK}")
    return Check("runs", CheckStatus.OK, "No workflow is known to be stuck.")


def judge_workers(beats: Sequence[Beat]) -> tuple[Check, Check]:
    """The checks of engine and worker, from what the workers last said."""
    fresh = fresh_workers(beats)
    if not fresh:
        return (
            Check("engine", CheckStatus.UNKNOWN, "Not known: no worker is alive to say."),
            Check("worker", CheckStatus.FAILED, "No worker has been alive in the last 10 seconds."),
        )
    if not any(beat.report.get("engine_reachable") for beat in fresh):
        return (
            Check("engine", CheckStatus.FAILED, _problems(fresh) or "No worker reaches Temporal."),
            Check("worker", CheckStatus.UNKNOWN, f"{len(fresh)} alive; whether they take work shows once Temporal is reached."),
        )
    strangers = STRANGERS if any(beat.report.get("strangers") for beat in fresh) else ""
    told = ("A worker reaches it.", _problems(fresh), strangers, _shortcomings(fresh))
    engine = Check("engine", CheckStatus.OK, " ".join(filter(None, told)))
    polling = [beat for beat in fresh if beat.report.get("pollers_alive")]
    if not polling:
        return engine, Check("worker", CheckStatus.FAILED, "No living worker takes work from Temporal.")
    # None: Temporal takes no canary from it, which says nothing of the worker.
    if all(beat.report.get("canary_fresh", False) is False for beat in polling):
        return engine, Check("worker", CheckStatus.FAILED, "No living worker has finished a canary in the last 60 seconds.")
    return engine, Check("worker", CheckStatus.OK, f"{len(fresh)} alive.")


def judge_alerts(found: FailingAlerts) -> Check:
    """The check of alerts: failed while some fail for minutes, or ended unsent, and none was sent meanwhile.

    While others are sent, a few addresses that fail are named and make nothing red: no project may do that to the others.
    """
    is_bad = found.failing_seconds >= ALERTS_FAIL_SECONDS or found.ended > 0
    if not is_bad:
        detail = f"{found.failing} are tried again." if found.failing else "None fails."
        return Check("alerts", CheckStatus.OK, detail)
    kind = f" ({one_line(found.error, longest=100)})" if found.error else ""
    detail = f"{found.failing} fail, the first for {found.failing_seconds / 60:.0f} minutes"
    detail += f"; {found.ended} ended unsent in the last 15 minutes{kind}."
    if found.last_sent_seconds is not None and found.last_sent_seconds < ALERTS_FAIL_SECONDS:
        return Check("alerts", CheckStatus.OK, f"{detail} Others are sent.")
    return Check("alerts", CheckStatus.FAILED, detail)


def _problems(workers: Sequence[Beat]) -> str:
    """Why workers do no work for Temporal, in our own words alone: anybody may read this, and details name machines."""
    found = [beat.report.get("temporal_problem") for beat in workers]
    kinds = {str(problem.get("kind")) for problem in found if isinstance(problem, dict)}
    told = [PROBLEMS[kind] for kind in ProblemKind if kind.value in kinds]
    return " ".join([*told, "`makegood doctor` says how to repair it."]) if told else ""


def _shortcomings(workers: Sequence[Beat]) -> str:
    """What the workers do without."""
    found = [lines for beat in workers if isinstance(lines := beat.report.get("missing"), list)]
    missing = sorted({str(line).partition(":")[0] for lines in found for line in lines})
    return f"Temporal lacks what serves search or comfort: {', '.join(missing)}." if missing else ""


def clock_complaints(beats: Sequence[Beat]) -> str:
    """Whose clock is far from the store's: no failure, since nothing relies on a host's clock."""
    complaints = [clock_complaint(beat.process, beat.report.get(CLOCK)) for beat in _fresh(beats)]
    return "".join(f" {complaint}" for complaint in complaints if complaint)


def fresh_workers(beats: Sequence[Beat]) -> list[Beat]:
    """The workers that were alive a moment ago and have not ended."""
    return [beat for beat in _fresh(beats) if beat.role == "worker"]


def reported(workers: Sequence[Beat], name: str) -> int:
    """The sum of a count that workers report; one that has no engine yet reports none."""
    return sum(count for worker in workers if isinstance(count := worker.report.get(name), int))


def pending_credit(seconds: float | None) -> str:
    """That an outage is still being credited after so long; nothing while that is usual."""
    if seconds is None or seconds < CREDIT_LASTS_SECONDS:
        return ""
    return f" Warning: an outage of ingest is still being credited to deadlines after {seconds / 60:.0f} minutes."


def _fresh(beats: Sequence[Beat]) -> list[Beat]:
    return [beat for beat in beats if beat.age_seconds <= FRESH_SECONDS and not beat.report.get(ENDED)]
