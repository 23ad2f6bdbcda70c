"""The types of `makegood doctor`: a check and its finding."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """The result of a check; only `fail` makes the command fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, and how to fix it; `fix` is None when there is nothing to fix."""

    verdict: Verdict
    detail: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A named check; it returns expected failures as findings."""

    name: str
    run: Callable[[], Awaitable[Finding]]


def ok(detail: str) -> Finding:
    """A finding without a problem."""
    return Finding(Verdict.OK, detail)


def warn(detail: str, *, fix: str) -> Finding:
    """A finding that should be fixed; the installation still works."""
    return Finding(Verdict.WARN, detail, fix)


def fail(detail: str, *, fix: str) -> Finding:
    """A finding of something that does not work."""
    return Finding(Verdict.FAIL, detail, fix)
