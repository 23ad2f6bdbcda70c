"""Where the lines of `makegood up` go: its own, and those of its children.

Every line of a child goes to its log file. On a terminal it goes nowhere else, so that the banner
stays last. Elsewhere (systemd, CI, a pipe) it is also printed, with the child's name before it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cli.logs.writing import ChildLogs
from domain.values.text import printable

# Enough for an error's message; the file has the rest.
LINES_AFTER_A_DEATH = 5

PrintLine = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """The outputs of one run. `width` is that of the longest name of a child."""

    print_line: PrintLine
    logs: ChildLogs
    is_terminal: bool
    width: int

    def report(self, text: str) -> None:
        """Print a line of the supervisor's own."""
        self.print_line(text)

    def child_line(self, name: str, text: str) -> None:
        """Pass on a line that a child has printed."""
        self.logs.write(name, text)
        if not self.is_terminal:
            self.print_line(f"{name:<{self.width}} | {text}")

    def child_event(self, name: str, text: str) -> None:
        """Print what happened to a child, and note it in its log."""
        self.logs.write(name, f"makegood up: {text}")
        self.print_line(text)

    def child_died(self, name: str, text: str, last_lines: Sequence[str]) -> None:
        """Print how a child ended, and its log. On a terminal also its last lines."""
        shown = last_lines[-LINES_AFTER_A_DEATH:] if self.is_terminal else ()
        self.child_event(name, text)
        self.print_line("\n".join((*map(indented, shown), f"  its log: {self.logs.path(name)}")))


def indented(line: str) -> str:
    """A line of a child within a message."""
    return f"    {printable(line)}"
