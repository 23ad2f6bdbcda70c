"""Amounts of money for people: `EUR 1,204.50`. Amounts of different currencies are never added."""

from collections.abc import Mapping

# ISO 4217: the digits of the minor unit. All other currencies have two.
MINOR_DIGITS: Mapping[str, int] = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF"), 0),
    **dict.fromkeys(("UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


def format_amount(amount: int | None, currency: str | None) -> str:
    """The amount in the currency's major unit, as in `EUR 1,204.50`. Empty for None."""
    if amount is None or currency is None:
        return ""
    return f"{currency} {in_major_units(amount, currency)}"


def in_major_units(amount: int, currency: str) -> str:
    """The same without the currency, for a table that names it: `1,204.50`."""
    digits = MINOR_DIGITS.get(currency, 2)
    whole, minor = divmod(amount, 10**digits)
    return f"{whole:,}.{minor:0{digits}d}" if digits else f"{whole:,}"
