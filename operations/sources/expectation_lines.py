"""Expectations as people type them: a line of a form, or an option of the command line. Pure.

A line has an event type, an effect type, and if given the minutes and a JSON pointer:
`invoice.paid credit_grant 15 /data/object/metadata/order_id`.
"""

from typing import Any

_NAMES = ("event_type", "effect_type", "within_minutes", "reference")


# A list of the REST API's JSON. Any: values are of any JSON type.
def read_lines(text: str) -> list[dict[str, Any]]:
    """The expectations of the lines, not validated. Blank lines are ignored."""
    return [read_line(line) for line in text.splitlines() if line.strip()]


# Any: as above.
def read_line(line: str) -> dict[str, Any]:
    """One expectation, not validated. Validation names what is wrong with it.

    A pointer is the rest of its line, because it may contain spaces.
    """
    values: dict[str, Any] = dict(zip(_NAMES, line.split(maxsplit=3), strict=False))
    if "within_minutes" in values:
        values["within_minutes"] = _number(values["within_minutes"])
    if "reference" in values:
        values["reference"] = values["reference"].rstrip()
    return values


def _number(text: str) -> float | str:
    """The number. Other text stays as it is, for the shared validation to reject."""
    try:
        return float(text)
    except ValueError:
        return text
