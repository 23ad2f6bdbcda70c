"""Reads single fields of a provider's JSON, of which any may be the worst value. Pure.

Amounts become whole minor units of ISO 4217, or nothing: a rounded amount would be a wrong one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from domain.receipts import MAXIMUM_AMOUNT
from domain.sources.json_pointer import resolve
from domain.sources.source import Source
from domain.values.amounts import MINOR_DIGITS
from domain.values.text import is_storable, well_formed
from domain.values.timestamps import EPOCH, parse_instant

MAXIMUM_REFERENCE_CHARACTERS = 255
_LONGEST_INSTANT = 40
_LAST_SECOND = int((datetime(9999, 12, 30, tzinfo=UTC) - EPOCH) / timedelta(seconds=1))
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_DECIMAL = re.compile(r"([0-9]{1,16})(?:\.([0-9]{1,16}))?")
# Where Stripe's smallest unit is not ISO's minor unit. https://docs.stripe.com/currencies: ISK and
# UGX have no decimals but are sent with two; MGA is sent in whole ariary.
_STRIPE_DIGITS: Mapping[str, int] = {"ISK": 2, "UGX": 2, "MGA": 0}


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount in the minor unit of `currency`, an upper-case ISO 4217 code."""

    minor: int
    currency: str


def identifier(value: object) -> str | None:
    """A provider's id or name as text of 1 to 255 characters; None if it is anything else.

    It is never cut: a cut id would be another event's.
    """
    text = _text(value)
    if text is None or len(text) > MAXIMUM_REFERENCE_CHARACTERS:
        return None
    return text if text.isprintable() and is_storable(text) else None


def first_reference(event: object, pointers: Iterable[str]) -> str | None:
    """The first of these values that is a text or a whole number, cut to 255 characters."""
    for pointer in pointers:
        text = _text(resolve(event, pointer))
        if text is not None:
            return well_formed(text, characters=MAXIMUM_REFERENCE_CHARACTERS)
    return None


def references_of(event: object, source: Source, default: Sequence[str]) -> dict[str | None, str]:
    """The reference at each pointer that the source names, and that of None at the default ones."""
    names = {expects.reference for expects in source.expects} | {None}
    pointers = {name: default if name is None else (name,) for name in names}
    found = {name: first_reference(event, given) for name, given in pointers.items()}
    return {name: reference for name, reference in found.items() if reference is not None}


def unix_instant(value: object) -> datetime | None:
    """The instant of whole unix seconds; None if it is none that a date can have."""
    if type(value) is not int or not 0 <= value <= _LAST_SECOND:
        return None
    return EPOCH + timedelta(seconds=value)


def iso_instant(value: object) -> datetime | None:
    """The instant of an ISO 8601 text since 1970; None if it is none."""
    if not isinstance(value, str) or len(value) > _LONGEST_INSTANT:
        return None
    at = parse_instant(value)
    return None if at is None or at < EPOCH else at


def stripe_amount(units: object, currency: object) -> Amount | None:
    """An amount of Stripe's, in its smallest unit of the currency."""
    code = _currency(currency)
    if code is None or type(units) is not int or not 0 <= units <= MAXIMUM_AMOUNT:
        return None
    return _scaled(units, _STRIPE_DIGITS.get(code, _minor_digits(code)), code)


def decimal_amount(text: object, currency: object) -> Amount | None:
    """An amount as a decimal text in the major unit, such as Shopify's `"199.00"`."""
    code = _currency(currency)
    found = _DECIMAL.fullmatch(text) if isinstance(text, str) else None
    if code is None or found is None:
        return None
    decimals = (found[2] or "").rstrip("0")
    return _scaled(int(found[1] + decimals), len(decimals), code)


def _scaled(units: int, digits: int, code: str) -> Amount | None:
    """`units` with this number of decimals in the minor unit; None if that is no whole number."""
    whole, rest = divmod(units * 10 ** _minor_digits(code), 10**digits)
    return Amount(whole, code) if rest == 0 and whole <= MAXIMUM_AMOUNT else None


def _minor_digits(code: str) -> int:
    return MINOR_DIGITS.get(code, 2)


def _currency(value: object) -> str | None:
    is_code = isinstance(value, str) and _CURRENCY.fullmatch(value)
    return value.upper() if is_code and isinstance(value, str) else None


def _text(value: object) -> str | None:
    # A bool is an int in Python. A number of thousands of digits cannot become text.
    if type(value) is int and value.bit_length() <= 64:
        return str(value)
    return value if isinstance(value, str) and value.strip() else None
