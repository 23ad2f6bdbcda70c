"""A check of `makegood doctor`, and its finding, whose types the console shares."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from operations.instance.findings import Finding as Finding
from operations.instance.findings import Verdict as Verdict


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
