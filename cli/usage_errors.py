"""Words the usage errors of the command line: what is wrong with an option, in a plain sentence.

Typer validates options with Pydantic and prints Pydantic's messages, which are for engineers.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from pydantic import ValidationError

# The message for each of Pydantic's error types; the braces take the values of its context.
_MESSAGES = {
    "int_parsing": "Must be a whole number.",
    "int_parsing_size": "Must be a whole number of fewer digits.",
    "int_type": "Must be a whole number.",
    "int_from_float": "Must be a whole number.",
    "float_parsing": "Must be a number.",
    "float_type": "Must be a number.",
    "bool_parsing": "Must be true or false.",
    "greater_than_equal": "Must be at least {ge}.",
    "less_than_equal": "Must be at most {le}.",
    "value_error": "{error}",  # a choice: Typer's own sentence, which names the choices
}


class PlainUsageErrors(TyperGroup):
    """The group of all commands. Errors of their options are plain sentences."""

    # The context's class is private in Typer.
    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command. Raises: typer.BadParameter with a plain message."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            from pydantic import ValidationError  # slow to import

            if isinstance(error.__cause__, ValidationError):
                error.message = plain_message(error.__cause__)
            raise


def plain_message(error: "ValidationError") -> str:
    """The first problem of a value as a sentence."""
    problem = error.errors(include_url=False)[0]
    context: Mapping[str, Any] = problem.get("ctx", {})
    return _MESSAGES.get(problem["type"], "This value does not fit.").format(**context)
