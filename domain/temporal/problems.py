"""The reasons why a worker does no work for Temporal, shared by its heartbeat, readiness and
doctor.
"""

from enum import StrEnum


class ProblemKind(StrEnum):
    """The kind of problem. The worker's heartbeat carries the detail and the fix."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    UNAUTHORIZED = "unauthorized"
    NAMESPACE_MISSING = "namespace_missing"
    NAMESPACE_TAKEN = "namespace_taken"
    STORE_ELSEWHERE = "store_elsewhere"
    FAILED = "failed"
