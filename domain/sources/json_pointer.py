"""JSON pointers (RFC 6901) into a provider's event. Pure.

An operator names one for the `internal_reference` of what a source expects.
"""

import re

MAXIMUM_POINTER_CHARACTERS = 255
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_MISSING = object()


def is_pointer(text: str) -> bool:
    """Whether the text is a JSON pointer of at most 255 characters."""
    return len(text) <= MAXIMUM_POINTER_CHARACTERS and _POINTER.fullmatch(text) is not None


def resolve(document: object, pointer: str) -> object:
    """The value at the pointer. None if there is none, or if the text is no pointer."""
    if not is_pointer(pointer):
        return None
    value = document
    for step in pointer.split("/")[1:]:
        value = _child(value, step.replace("~1", "/").replace("~0", "~"))
    return None if value is _MISSING else value


def _child(value: object, step: str) -> object:
    match value:
        case dict():
            return value.get(step, _MISSING)
        case list() if _INDEX.fullmatch(step) and int(step) < len(value):
            return value[int(step)]
        case _:
            return _MISSING
