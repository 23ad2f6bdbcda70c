"""What is kept of text from outside: well-formed Unicode without NUL, cut to a length."""

import re

LONGEST = 2_048
REPLACEMENT = "\ufffd"
# PostgreSQL cannot store NUL; half a surrogate pair cannot be encoded as UTF-8 at all.
_ILL_FORMED = re.compile("[\0\ud800-\udfff]")


def well_formed(text: str, *, characters: int = LONGEST) -> str:
    """The first `characters` of the text, with U+FFFD in place of each NUL and each half of a surrogate pair."""
    return _ILL_FORMED.sub(REPLACEMENT, text[:characters])


def kept(text: str) -> str:
    """The text as it may be stored, logged or put in an error: without NUL, well-formed, cut to 2,048 characters."""
    return well_formed(text.replace("\0", ""))
