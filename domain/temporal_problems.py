"""Why a worker does no work for Temporal: the kinds that its heartbeat, readiness and doctor share."""

from enum import StrEnum


class ProblemKind(StrEnum):
    """The kind; the worker's heartbeat has the detail and the fix beside it."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    UNAUTHORIZED = "unauthorized"
    NAMESPACE_MISSING = "namespace_missing"
    NAMESPACE_TAKEN = "namespace_taken"
    STORE_ELSEWHERE = "store_elsewhere"
    FAILED = "failed"
