"""What a source expects, as lines of a text field. Pure.

A line has an event type, an effect type, and if given the minutes and a JSON pointer:
`invoice.paid credit_grant 15 /data/object/metadata/order_id`. A field for each value would need
more fields than a form may have.
"""

from collections.abc import Sequence
from typing import Any

from domain.errors import FieldError
from domain.sources.source import DEFAULT_WITHIN_MINUTES, Expects
from operations.responses.projects import int_if_whole

EXPECTS = "expects"
_NAMES = ("event_type", "effect_type", "within_minutes", "reference")


# A list of the REST API's JSON. Any: values are of any JSON type.
def read_lines(text: str) -> list[dict[str, Any]]:
    """The expectations of the lines, not validated. Blank lines are ignored.

    A pointer is the rest of its line, because it may contain spaces.
    """
    return [_read_line(line) for line in text.splitlines() if line.strip()]


def write_lines(expects: Sequence[Expects]) -> str:
    """The lines of stored expectations. `read_lines` reads the same ones from it."""
    return "\n".join(_write_line(one) for one in expects)


def line_of(error: FieldError) -> str:
    """The message of an error in `expects`, with the number of its line."""
    parts = error.pointer.strip("/").split("/")
    if len(parts) < 2 or not parts[1].isdigit():
        return error.message
    return f"Line {int(parts[1]) + 1}: {error.message}"


def _read_line(line: str) -> dict[str, Any]:
    values: dict[str, Any] = dict(zip(_NAMES, line.split(maxsplit=3), strict=False))
    if "within_minutes" in values:
        values["within_minutes"] = _number(values["within_minutes"])
    if "reference" in values:
        values["reference"] = values["reference"].rstrip()
    return values


def _write_line(one: Expects) -> str:
    words = [one.event_type, one.effect_type]
    if one.within_minutes != DEFAULT_WITHIN_MINUTES or one.reference is not None:
        words.append(str(int_if_whole(one.within_minutes)))
    if one.reference is not None:
        words.append(one.reference)
    return " ".join(words)


def _number(text: str) -> float | str:
    """The number typed. Other text stays as it is, for the shared validation to reject."""
    try:
        return float(text)
    except ValueError:
        return text
