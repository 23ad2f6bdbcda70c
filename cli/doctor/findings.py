"""What a check of `makegood doctor` finds, and the shape of a check."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check ended; `fail` alone makes the command fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and the one thing that mends it; `fix` is None when there is nothing to mend."""

    verdict: Verdict
    detail: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A check with its name; it raises nothing that it expects."""

    name: str
    run: Callable[[], Awaitable[Finding]]


def ok(detail: str) -> Finding:
    """Nothing to mend."""
    return Finding(Verdict.OK, detail)


def warn(detail: str, *, fix: str) -> Finding:
    """It works, but should not stay so."""
    return Finding(Verdict.WARN, detail, fix)


def fail(detail: str, *, fix: str) -> Finding:
    """Something does not work."""
    return Finding(Verdict.FAIL, detail, fix)
