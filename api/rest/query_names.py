"""Refuses query parameters that a route does not have: a misspelt filter must not list everything.

`api.rest.dependencies` calls it for every REST request, after the key is checked.
"""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

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


def check_query_names(given: Iterable[str], *, known: tuple[str, ...]) -> None:
    """Check that the route knows every parameter.

    Raises: ValidationFailed, which names each unknown parameter and the nearest known one.
    """
    unknown = [name for name in dict.fromkeys(given) if name not in known]
    if unknown:
        errors = (_unknown(name[:LONGEST_NAME], known) for name in unknown[:MAXIMUM_ERRORS])
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
