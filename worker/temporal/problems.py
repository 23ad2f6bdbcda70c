"""Classifies errors of Temporal calls, and describes why a worker cannot work for Temporal.

A refusal is final: the call is not permitted, unknown, or invalid. Any other error means that
Temporal is unavailable or busy. Used by all of `worker`. The heartbeat reports a problem to
`/readyz` and `makegood doctor`.
"""

import re
from dataclasses import dataclass
from datetime import timedelta

from temporalio.service import RPCError, RPCStatusCode

from domain.temporal.problems import ProblemKind

RPC_SECONDS = timedelta(seconds=3)
REFUSED = frozenset(
    {
        RPCStatusCode.PERMISSION_DENIED,
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.UNIMPLEMENTED,
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.FAILED_PRECONDITION,
    }
)
UNAUTHORIZED = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED})
REASON_CHARACTERS = 200
# The library gives the cause of a failed connection in its text only.
_STATUS = re.compile(r"\bcode: (\w+)")
_TLS = re.compile(
    r"Certificate|InvalidContentType|AlertReceived|HandshakeFailure|InvalidMessage|UnknownIssuer"
    r"|rustls|\btls\b",
    re.I,
)

FIXES = {
    ProblemKind.UNREACHABLE: "start Temporal, or correct TEMPORAL_ADDRESS and TEMPORAL_TLS",
    ProblemKind.TLS: "correct TEMPORAL_TLS and TEMPORAL_TLS_*: they do not fit the server's TLS",
    ProblemKind.UNAUTHORIZED: (
        "correct TEMPORAL_API_KEY or TEMPORAL_TLS_CLIENT_CERT, or grant what docs/temporal.md lists"
    ),
    ProblemKind.NAMESPACE_MISSING: "create the namespace, or correct TEMPORAL_NAMESPACE",
    ProblemKind.FAILED: "see the worker's log",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and how to fix it."""

    kind: ProblemKind
    detail: str
    fix: str

    def as_report(self) -> dict[str, str]:
        """The problem as JSON values, for the worker's heartbeat."""
        return {"kind": self.kind.value, "detail": self.detail, "fix": self.fix}


class TemporalProblem(Exception):
    """This process cannot work for Temporal now. `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class NotConnected(RPCError):
    """This process has no connection to Temporal yet, or has lost it."""

    def __init__(self) -> None:
        super().__init__("there is no connection to Temporal", RPCStatusCode.UNAVAILABLE, b"")


def reason_of(error: RPCError) -> str:
    """The status, and the beginning of Temporal's message."""
    message = " ".join(error.message.split())[:REASON_CHARACTERS]
    return f"{error.status.name}: {message}" if message else error.status.name


def problem_of_call(error: RPCError, call: str) -> Problem:
    """The problem that a failed call shows, of a call that the worker needs."""
    if error.status in UNAUTHORIZED:
        return _problem(
            ProblemKind.UNAUTHORIZED, f"Temporal does not allow {call} ({reason_of(error)})"
        )
    if error.status is RPCStatusCode.NOT_FOUND:
        return _problem(
            ProblemKind.NAMESPACE_MISSING,
            f"the namespace does not exist: {call} ({reason_of(error)})",
        )
    if error.status in REFUSED:
        return _problem(ProblemKind.FAILED, f"Temporal refuses {call} ({reason_of(error)})")
    return _problem(
        ProblemKind.UNREACHABLE, f"Temporal does not answer {call} ({reason_of(error)})"
    )


def problem_of_connection(error: RuntimeError | TimeoutError, target: str) -> Problem:
    """The problem that a failed connection shows."""
    message = " ".join(str(error).split())[:REASON_CHARACTERS]
    status = found[1] if (found := _STATUS.search(message)) else None
    if status in {"PermissionDenied", "Unauthenticated"}:
        return _problem(
            ProblemKind.UNAUTHORIZED,
            f"{target} rejects the API key or client certificate: {message}",
        )
    if status is None and _TLS.search(message):
        return _problem(ProblemKind.TLS, f"no TLS connection with {target}: {message}")
    return _problem(
        ProblemKind.UNREACHABLE, f"{target} cannot be reached: {message or 'no answer in time'}"
    )


def _problem(kind: ProblemKind, detail: str) -> Problem:
    return Problem(kind, detail, FIXES[kind])
