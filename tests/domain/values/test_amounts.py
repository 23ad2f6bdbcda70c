"""Amounts are written in the major unit of their currency."""

import pytest

from domain.values.amounts import format_amount, in_major_units


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (0, "EUR", "EUR 0.00"),
        (5, "EUR", "EUR 0.05"),
        (120_450, "USD", "USD 1,204.50"),
        (10**15, "EUR", "EUR 10,000,000,000,000.00"),
        (5_000, "JPY", "JPY 5,000"),
        (1_234_005, "KWD", "KWD 1,234.005"),
        (12_345, "CLF", "CLF 1.2345"),
        (100, "XYZ", "XYZ 1.00"),
    ],
)
def test_amount_has_the_digits_of_its_currency(amount: int, currency: str, text: str) -> None:
    assert format_amount(amount, currency) == text
    assert f"{currency} {in_major_units(amount, currency)}" == text


def test_no_amount_is_no_text() -> None:
    assert format_amount(None, None) == ""
