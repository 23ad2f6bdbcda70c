"""Parses the search text of a list: tokens such as `is:open` and `age:>1h`, and free words. Pure.

1. A token is `key:value`; a value with spaces is in double quotes: `ref:"order 1"`. Within quotes a
   backslash takes the next character literally.
2. Everything else is a free word. Quotes make a phrase one word, and a word with a colon no token.
3. All tokens and words must match, except that several states mean any of them.

An unknown token is refused by its name, since a misspelt filter must not list everything.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches

from domain.errors import FieldError, ValidationFailed
from domain.receipts import MAXIMUM_AMOUNT
from domain.search.tokens import CHOICES, KEYS, MUTED, REPEATABLE, STATES
from domain.values.amounts import MINOR_DIGITS

POINTER = "/q"
LONGEST_QUERY = 1_000
MOST_TOKENS, MOST_WORDS = 30, 10
MOST_ERRORS = 20
_LONGEST_NAME = 64
_TOKEN = re.compile(
    r'(?:(?P<key>[A-Za-z_]{1,64}):)?(?:"(?P<quoted>(?:[^"\\]|\\.)*)"(?!\S)|(?P<plain>\S*))', re.S
)
_AGE = re.compile(r"(?P<operator>[<>]=?)(?P<number>[0-9]{1,6})(?P<unit>s|min|m|h|d|w)")
_AMOUNT = re.compile(
    r"(?P<operator>[<>]=?|=?)(?P<whole>[0-9]{1,15})(?:[.](?P<minor>[0-9]{1,4}))?(?P<currency>[A-Za-z]{3})?"
)
# No amount is larger, and a database knows no number beyond 64 bits.
_LARGEST = 10 * MAXIMUM_AMOUNT
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class AgeBound:
    """A comparison of the age of an entry: `operator` is one of `<`, `<=`, `>` and `>=`."""

    operator: str
    age: timedelta


@dataclass(frozen=True, slots=True)
class AmountBound:
    """A comparison of the amount, in minor units. `currency` None compares those of every one."""

    operator: str
    amount: int
    currency: str | None


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A parsed search. Empty fields do not filter.

    `states` are of incidents, any of which matches. `marks` are the other values of `is:`, all of
    which must hold. `values` has the value of each other key.
    """

    words: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    ages: tuple[AgeBound, ...] = ()
    amounts: tuple[AmountBound, ...] = ()


NO_SEARCH = SearchQuery()


def parse_query(text: str | None) -> SearchQuery:
    """The search of a text; None and blank ones do not filter.

    Raises: ValidationFailed at `/q`, which names each token that is unknown or ill-formed.
    """
    if text is None or not text.strip():
        return NO_SEARCH
    tokens = list(_tokens(text))
    if len(text) > LONGEST_QUERY or len(tokens) > MOST_TOKENS:
        message = f"Must have at most {MOST_TOKENS} tokens and {LONGEST_QUERY:,} characters."
        raise ValidationFailed(errors=(FieldError(POINTER, "too_long", message),))
    words = tuple(value for key, value in tokens if key is None)
    named = [(key, value) for key, value in tokens if key is not None]
    problems = [problem for key, value in named if (problem := _problem(key, value))]
    problems += _repeated(named)
    if len(words) > MOST_WORDS:
        problems.append(("too_long", f"Must have at most {MOST_WORDS} free words."))
    if problems:
        errors = tuple(FieldError(POINTER, *problem) for problem in problems[:MOST_ERRORS])
        raise ValidationFailed(errors=errors)
    return _query(words, named)


def asks_for_now(text: str | None) -> bool:
    """Whether a search compares with the present. Raises: as `parse_query`."""
    search = parse_query(text)
    return bool(search.ages) or MUTED in search.marks


def quoted(value: str) -> str:
    """The value as a token has it: in quotes if it needs them."""
    if value and not re.search(r'[\s"\\:]', value):
        return value
    return '"{}"'.format(value.replace("\\", "\\\\").replace('"', '\\"'))


def _matches(text: str) -> Iterator[re.Match[str]]:
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
        elif (found := _TOKEN.match(text, position)) is not None and found[0]:
            yield found
            position = found.end()


def _tokens(text: str) -> Iterator[tuple[str | None, str]]:
    """The lower-case key, None for a word, and the value of each token."""
    for found in _matches(text):
        key, in_quotes, plain = found["key"], found["quoted"], found["plain"]
        value = plain if in_quotes is None else re.sub(r"\\(.)", r"\1", in_quotes, flags=re.S)
        if key is not None:
            yield key.lower(), value.strip()
        elif value.strip():
            yield None, value.strip()


def _problem(key: str, value: str) -> tuple[str, str] | None:
    """The code and message of a refused token; None for a good one."""
    if key not in KEYS:
        near = get_close_matches(key, KEYS, n=1)
        advice = f"Did you mean `{near[0]}:`?" if near else f"There are {_listed(KEYS)}."
        text = "Put a text with a colon in quotes to search for it."
        return "unknown_token", f"There is no token `{key}:`. {advice} {text}"
    if not value:
        return "required", f"`{key}:` needs a value: {KEYS[key]}."
    if key in CHOICES and value.lower() not in CHOICES[key]:
        shown = value[:_LONGEST_NAME]
        near = get_close_matches(value.lower(), CHOICES[key], n=1)
        advice = f"Did you mean `{key}:{near[0]}`?" if near else f"It can be {KEYS[key]}."
        return "unknown_token", f"There is no token `{key}:{shown}`. {advice}"
    if key == "age" and _AGE.fullmatch(value) is None:
        return "invalid_format", (
            "`age:` must be a comparison with a number and a unit (s, m, h, d, w), such as `>1h`."
        )
    if key == "amount":
        return _amount_problem(value)
    return None


def _amount_problem(value: str) -> tuple[str, str] | None:
    found = _AMOUNT.fullmatch(value)
    if found is None:
        return "invalid_format", (
            "`amount:` must be a comparison with a number, such as `>10000` in minor units or"
            " `>100.00EUR`."
        )
    digits = MINOR_DIGITS.get((found["currency"] or "").upper(), 2)
    if found["minor"] and (found["currency"] is None or len(found["minor"]) > digits):
        return "invalid_format", (
            "`amount:` takes decimals only with a currency that has so many, such as `>99.50EUR`."
        )
    return None


def _repeated(named: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The problems of keys with two values, which no entry could have."""
    values: dict[str, str] = {}
    twice = [key for key, value in named if values.setdefault(key, value) != value]
    return [
        ("duplicate_name", f"`{key}:` must appear only once.")
        for key in dict.fromkeys(twice)
        if key in KEYS and key not in REPEATABLE
    ]


def _query(words: tuple[str, ...], named: list[tuple[str, str]]) -> SearchQuery:
    chosen = dict.fromkeys(value.lower() for key, value in named if key == "is")
    return SearchQuery(
        words=tuple(dict.fromkeys(words)),
        states=tuple(value for value in chosen if value in STATES),
        marks=tuple(value for value in chosen if value not in STATES),
        values={
            key: value.lower() if key in CHOICES else value
            for key, value in named
            if key not in REPEATABLE
        },
        ages=tuple(_age(value) for key, value in named if key == "age"),
        amounts=tuple(_amount(value) for key, value in named if key == "amount"),
    )


def _age(value: str) -> AgeBound:
    found = _AGE.fullmatch(value)
    assert found is not None
    seconds = int(found["number"]) * _UNITS[found["unit"]]
    return AgeBound(found["operator"], timedelta(seconds=seconds))


def _amount(value: str) -> AmountBound:
    """With a currency the number is in its major unit, as people see it."""
    found = _AMOUNT.fullmatch(value)
    assert found is not None
    operator, whole = found["operator"] or "=", int(found["whole"])
    if found["currency"] is None:
        return AmountBound(operator, whole, None)
    currency = found["currency"].upper()
    digits = MINOR_DIGITS.get(currency, 2)
    minor = int((found["minor"] or "").ljust(digits, "0") or 0)
    return AmountBound(operator, min(whole * 10**digits + minor, _LARGEST), currency)


def _listed(names: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}:`" for name in names)
