"""What a source expects, as lines of a text field. Pure.

`operations.sources.expectation_lines` reads them. A field for each value would need more fields
than a form may have.
"""

from collections.abc import Sequence

from domain.errors import FieldError
from domain.sources.source import DEFAULT_WITHIN_MINUTES, Expects
from operations.responses.projects import int_if_whole

EXPECTS = "expects"


def write_lines(expects: Sequence[Expects]) -> str:
    """The lines of stored expectations. `read_lines` reads the same ones from it."""
    return "\n".join(_write_line(one) for one in expects)


def line_of(error: FieldError) -> str:
    """The message of an error in `expects`, with the number of its line."""
    parts = error.pointer.strip("/").split("/")
    if len(parts) < 2 or not parts[1].isdigit():
        return error.message
    return f"Line {int(parts[1]) + 1}: {error.message}"


def _write_line(one: Expects) -> str:
    words = [one.event_type, one.effect_type]
    if one.within_minutes != DEFAULT_WITHIN_MINUTES or one.reference is not None:
        words.append(str(int_if_whole(one.within_minutes)))
    if one.reference is not None:
        words.append(one.reference)
    return " ".join(words)
