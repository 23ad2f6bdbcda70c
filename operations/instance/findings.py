"""The findings of an installation's checks: `makegood doctor` prints them, and the console shows
them. The checks are in `cli.doctor`.
"""

from collections.abc import Awaitable, Callable, Sequence
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


# The name of each check with its finding, in the order of the output.
Findings = Sequence[tuple[str, Finding]]
Examine = Callable[[], Awaitable[Findings]]
