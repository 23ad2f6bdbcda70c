from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sources.fields import (
    MAXIMUM_AMOUNT,
    Amount,
    decimal_amount,
    first_reference,
    identifier,
    iso_instant,
    stripe_amount,
    unix_instant,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
# A whole number of thousands of digits: Python refuses to make it text.
HUGE = 10**5000


@pytest.mark.parametrize(
    ("units", "currency", "expected"),
    [
        (1999, "usd", Amount(1999, "USD")),
        (0, "eur", Amount(0, "EUR")),
        (500, "jpy", Amount(500, "JPY")),
        (5120, "kwd", Amount(5120, "KWD")),
        (500, "isk", Amount(5, "ISK")),
        (500, "ugx", Amount(5, "UGX")),
        (550, "isk", None),
        (3, "mga", Amount(300, "MGA")),
        (1999, "huf", Amount(1999, "HUF")),
        (80045, "twd", Amount(80045, "TWD")),
        (MAXIMUM_AMOUNT, "usd", Amount(MAXIMUM_AMOUNT, "USD")),
        (MAXIMUM_AMOUNT + 1, "usd", None),
        (MAXIMUM_AMOUNT, "mga", None),
        (-1, "usd", None),
        (True, "usd", None),
        (1.0, "usd", None),
        ("1999", "usd", None),
        pytest.param(HUGE, "usd", None, id="huge"),
        (1999, None, None),
        (1999, "us", None),
        (1999, "ųsd", None),
        (1999, "usdt", None),
    ],
)
def test_amounts_of_stripe_become_minor_units_of_iso(
    units: object, currency: object, expected: Amount | None
) -> None:
    assert stripe_amount(units, currency) == expected


@pytest.mark.parametrize(
    ("text", "currency", "expected"),
    [
        ("199.00", "USD", Amount(19900, "USD")),
        ("199", "USD", Amount(19900, "USD")),
        ("199.5", "eur", Amount(19950, "EUR")),
        ("0.01", "USD", Amount(1, "USD")),
        ("0.00", "USD", Amount(0, "USD")),
        ("0.0100000", "USD", Amount(1, "USD")),
        ("0.011", "USD", None),
        ("500", "JPY", Amount(500, "JPY")),
        ("500.00", "JPY", Amount(500, "JPY")),
        ("500.50", "JPY", None),
        ("1.234", "KWD", Amount(1234, "KWD")),
        ("1.2345", "CLF", Amount(12345, "CLF")),
        ("9999999999999.99", "USD", Amount(999_999_999_999_999, "USD")),
        ("10000000000000.01", "USD", None),
        ("-1.00", "USD", None),
        ("1,00", "USD", None),
        ("1e3", "USD", None),
        (" 1.00", "USD", None),
        ("٣.00", "USD", None),
        ("1." + "0" * 5000, "USD", None),
        ("", "USD", None),
        ("NaN", "USD", None),
        (199.0, "USD", None),
        (None, "USD", None),
        ("1.00", "DOLLAR", None),
    ],
)
def test_decimal_texts_become_minor_units_of_iso(
    text: object, currency: object, expected: Amount | None
) -> None:
    assert decimal_amount(text, currency) == expected


@given(st.integers(0, 10**12), st.sampled_from([("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)]))
def test_a_decimal_text_keeps_its_amount(minor: int, kind: tuple[str, int]) -> None:
    currency, digits = kind

    text = str(Decimal(minor).scaleb(-digits).quantize(Decimal(1).scaleb(-digits)))

    assert decimal_amount(text, currency) == Amount(minor, currency)


@given(json_values, json_values)
def test_any_value_is_an_amount_or_none(value: object, currency: object) -> None:
    for amount in (stripe_amount(value, currency), decimal_amount(value, currency)):
        assert amount is None or 0 <= amount.minor <= MAXIMUM_AMOUNT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("evt_1", "evt_1"),
        (820982911946154508, "820982911946154508"),
        ("x" * 255, "x" * 255),
        ("x" * 256, None),
        ("", None),
        ("  ", None),
        ("a\0b", None),
        ("a\nb", None),
        ("\ud800", None),
        pytest.param(HUGE, None, id="huge"),
        (True, None),
        (1.5, None),
        (None, None),
        (["evt_1"], None),
    ],
)
def test_an_identifier_is_taken_whole_or_not_at_all(value: object, expected: str | None) -> None:
    assert identifier(value) == expected


def test_a_reference_is_the_first_value_and_is_cut() -> None:
    event = {"a": "  ", "b": "x" * 300, "c": 7, "d": "nul\0", "e": HUGE}

    assert first_reference(event, ["/none", "/a", "/b", "/c"]) == "x" * 255
    assert first_reference(event, ["/c"]) == "7"
    assert first_reference(event, ["/d"]) == "nul\ufffd"
    assert first_reference(event, ["/e", "/a", ""]) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1_780_000_000, datetime(2026, 5, 28, 20, 26, 40, tzinfo=UTC)),
        (-1, None),
        pytest.param(HUGE, None, id="huge"),
        (253_402_300_800, None),
        (True, None),
        (1.5, None),
        ("1780000000", None),
    ],
)
def test_unix_seconds_are_instants(value: object, expected: datetime | None) -> None:
    assert unix_instant(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-09-17T06:20:52.246Z", datetime(2024, 9, 17, 6, 20, 52, 246_000, tzinfo=UTC)),
        ("2024-09-17T08:20:52+02:00", datetime(2024, 9, 17, 6, 20, 52, tzinfo=UTC)),
        ("2024-09-17T06:20:52", None),
        ("1969-12-31T23:59:59Z", None),
        ("2024-09-17T06:20:52." + "0" * 5000 + "Z", None),
        (1_780_000_000, None),
    ],
)
def test_iso_texts_are_instants(value: object, expected: datetime | None) -> None:
    assert iso_instant(value) == expected
