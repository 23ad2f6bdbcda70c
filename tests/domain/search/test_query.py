"""The search text of lists: tokens, quotes and words; what is unknown is refused by its name."""

from datetime import timedelta

import pytest

from domain.errors import ValidationFailed
from domain.search.query import (
    LONGEST_QUERY,
    MOST_TOKENS,
    MOST_WORDS,
    AgeBound,
    AmountBound,
    SearchQuery,
    parse_query,
    quoted,
)
from domain.search.tokens import KEYS

PARSED = {
    "": SearchQuery(),
    "  ": SearchQuery(),
    "order-17": SearchQuery(words=("order-17",)),
    "two words two": SearchQuery(words=("two", "words")),
    '"two words"': SearchQuery(words=("two words",)),
    'say \\"hi': SearchQuery(words=("say", '\\"hi')),
    '"say \\"hi\\""': SearchQuery(words=('say "hi"',)),
    '7"7': SearchQuery(words=('7"7',)),
    '"unclosed': SearchQuery(words=('"unclosed',)),
    '"key:not a token"': SearchQuery(words=("key:not a token",)),
    "12:30 -x:y": SearchQuery(words=("12:30", "-x:y")),
    "is:open IS:Repairing is:open": SearchQuery(states=("open", "repairing")),
    "is:flagged is:snoozed": SearchQuery(marks=("flagged", "snoozed")),
    'ref:"order 1" customer:c:1': SearchQuery(values={"ref": "order 1", "customer": "c:1"}),
    "reason:Missing_Result": SearchQuery(values={"reason": "missing_result"}),
    "error:x error:x": SearchQuery(values={"error": "x"}),
    "age:>1h age:<=2d": SearchQuery(
        ages=(AgeBound(">", timedelta(hours=1)), AgeBound("<=", timedelta(days=2)))
    ),
    "amount:>100": SearchQuery(amounts=(AmountBound(">", 100, None),)),
    "amount:100": SearchQuery(amounts=(AmountBound("=", 100, None),)),
    "amount:>=99.5eur": SearchQuery(amounts=(AmountBound(">=", 9_950, "EUR"),)),
    "amount:<100JPY": SearchQuery(amounts=(AmountBound("<", 100, "JPY"),)),
    "amount:>1.234KWD": SearchQuery(amounts=(AmountBound(">", 1_234, "KWD"),)),
    "is:open x": SearchQuery(words=("x",), states=("open",)),
}


@pytest.mark.parametrize(("text", "expected"), PARSED.items(), ids=PARSED)
def test_text_is_parsed(text: str, expected: SearchQuery) -> None:
    assert parse_query(text) == expected


REFUSED = {
    "effet:x": ("unknown_token", "There is no token `effet:`. Did you mean `effect:`?"),
    "https://shop.example": ("unknown_token", "in quotes"),
    "zzzz:1": ("unknown_token", "There are `is:`"),
    "is:opne": ("unknown_token", "There is no token `is:opne`. Did you mean `is:open`?"),
    "reason:none": ("unknown_token", "It can be missing_result"),
    "ref:": ("required", "`ref:` needs a value"),
    'ref:""': ("required", "`ref:` needs a value"),
    "age:1h": ("invalid_format", ">1h"),
    "age:>1y": ("invalid_format", "s, m, h, d, w"),
    "amount:>x": ("invalid_format", ">100.00EUR"),
    "amount:>9.5": ("invalid_format", "with a currency"),
    "amount:>9.5JPY": ("invalid_format", "with a currency"),
    "error:a error:b": ("duplicate_name", "`error:` must appear only once."),
    "x " * (MOST_TOKENS + 1): ("too_long", "at most"),
    " ".join(map(str, range(MOST_WORDS + 1))): ("too_long", "free words"),
    "x" * (LONGEST_QUERY + 1): ("too_long", "characters"),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.items(), ids=[text[:20] for text in REFUSED])
def test_refused_token_is_named_at_q(text: str, expected: tuple[str, str]) -> None:
    with pytest.raises(ValidationFailed) as refused:
        parse_query(text)

    (error,) = refused.value.errors
    assert (error.pointer, error.code) == ("/q", expected[0])
    assert expected[1] in error.message


def test_every_refused_token_is_named() -> None:
    with pytest.raises(ValidationFailed) as refused:
        parse_query("effet:x is:opne good age:1")

    assert len(refused.value.errors) == 3


@pytest.mark.parametrize("value", ["x", "order 1", 'say "hi"', "a\\b", "k:v", "", "ü\t"])
def test_quoted_value_is_read_back(value: str) -> None:
    expected = {"ref": value.strip()}
    if value:
        assert parse_query(f"ref:{quoted(value)}").values == expected


def test_every_token_of_the_language_is_known() -> None:
    assert set(KEYS) == {
        *("is", "provider", "type", "effect", "reason", "error", "ref", "customer"),
        *("assignee", "group", "age", "amount"),
    }
