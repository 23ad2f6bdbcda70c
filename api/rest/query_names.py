"""Refuses query parameters that a route does not have: a misspelt filter must not list everything.

It also refuses parameters that appear twice, and values that are not UTF-8.
`api.rest.dependencies` calls it for every REST request, after the key is checked.
"""

from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from urllib.parse import parse_qsl

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from domain.errors import FieldError, ValidationFailed
from operations.validation import pointer_to

MAXIMUM_ERRORS = 20
# Longer than every name. The rest of an unknown name is not repeated.
LONGEST_NAME = 64


def query_names(route: APIRoute) -> tuple[str, ...]:
    """The names of the route's query parameters, in alphabetical order."""
    return tuple(sorted(set(_names(route.dependant))))


def check_query(query: bytes, *, known: tuple[str, ...]) -> None:
    """Check that the route knows every parameter, and that each appears once and is UTF-8.

    Raises: ValidationFailed, which names each unknown parameter and the nearest known one, or each
    parameter that appears twice or is not UTF-8.
    """
    # The framework decodes in this way too, but replaces bytes that are not UTF-8.
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
    times = Counter(name for name, _ in pairs)
    unknown = [name for name in times if name not in known]
    errors = [_unknown(_shown(name), known) for name in unknown[:MAXIMUM_ERRORS]]
    if not errors:
        errors = [_repeated(name) for name, count in times.items() if count > 1]
        errors += [
            _malformed(name) for name, value in pairs if times[name] == 1 and _is_malformed(value)
        ]
    if errors:
        raise ValidationFailed(errors=tuple(errors))


def _names(dependant: Dependant) -> Iterator[str]:
    for parameter in dependant.query_params:
        yield parameter.alias
    for inner in dependant.dependencies:
        yield from _names(inner)


def _unknown(name: str, known: tuple[str, ...]) -> FieldError:
    nearest = get_close_matches(name, known, n=1)
    if nearest:
        advice = f"Did you mean `{nearest[0]}`?"
    elif known:
        advice = f"This call has {', '.join(f'`{one}`' for one in known)}."
    else:
        advice = "This call has none."
    message = f"This query parameter does not exist. {advice}"
    return FieldError(pointer_to((name,)), "unknown_parameter", message)


def _repeated(name: str) -> FieldError:
    message = "This query parameter must appear only once."
    return FieldError(pointer_to((name,)), "duplicate_name", message)


def _malformed(name: str) -> FieldError:
    return FieldError(pointer_to((name,)), "invalid_format", "Must be UTF-8, percent-encoded.")


def _is_malformed(value: str) -> bool:
    """Whether a decoded value has bytes that are not UTF-8."""
    return any("\udc80" <= character <= "\udcff" for character in value)


def _shown(name: str) -> str:
    """The beginning of an unknown name, well-formed."""
    return name[:LONGEST_NAME].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
