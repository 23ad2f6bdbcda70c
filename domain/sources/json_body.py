"""Reads the JSON of a provider, which is genuine but may hold the worst values. Pure.

A lone surrogate, a repeated name or an endless number in a text that nobody reads must not make
the whole event unreadable. So this is not the strict reader of ingest.
"""

import json

from domain.sources.events import NotAnEvent

# Python refuses to convert a number of thousands of digits.
_MOST_DIGITS = 300


def read_json(body: bytes | str) -> object:
    """The JSON value of the body, which its reader has bounded.

    A whole number of over 300 digits becomes None.

    Raises: NotAnEvent.
    """
    try:
        value: object = json.loads(body, parse_int=_whole_number)
    except (ValueError, RecursionError):
        raise NotAnEvent("The body must be JSON.") from None
    return value


def _whole_number(text: str) -> int | None:
    return int(text) if len(text) <= _MOST_DIGITS else None
