"""Reads an enumeration from stored text that a newer version may have written. Pure.

While processes are replaced, older ones read rows of newer ones. What only shows or passes on a
value keeps its text. What grants a right ignores a value that it does not know.
"""

from enum import StrEnum
from typing import TypeVar

Member = TypeVar("Member", bound=StrEnum)


def member_or_text(kind: type[Member], text: str) -> Member | str:
    """The member that is spelled so; the text itself if this version has no such member."""
    try:
        return kind(text)
    except ValueError:
        return text
