"""Makes text from outside safe to store and to show: well-formed Unicode without NUL, cut to a
length.

`sanitize` is for stored text, `one_line` for mail and logs, `readable` for pages and tracebacks,
`printable` for terminals.
"""

import json
import re

LONGEST = 2_048
REPLACEMENT = "\ufffd"
# PostgreSQL cannot store NUL; a lone surrogate cannot be encoded as UTF-8.
_ILL_FORMED = re.compile("[\0\ud800-\udfff]")
# Characters that move a cursor, break a line or change the reading direction: C0, DEL, C1,
# U+2028/2029, bidi controls.
_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]+"
)
# The same without tab and line feed, which a page shows as white space.
_UNREADABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


def well_formed(text: str, *, characters: int = LONGEST) -> str:
    """The first `characters` of the text, with U+FFFD in place of each NUL and each lone
    surrogate.
    """
    return _ILL_FORMED.sub(REPLACEMENT, text[:characters])


def is_storable(text: str) -> bool:
    """Whether both databases can store the text unchanged."""
    return _ILL_FORMED.search(text) is None


def sanitize(text: str) -> str:
    """The text as it may be stored, logged or put in an error: no NUL, well-formed, at most 2,048
    characters.
    """
    return well_formed(text.replace("\0", ""))


def one_line(text: str, *, longest: int = LONGEST) -> str:
    """The text on one line, for mail, logs and pages: well-formed Unicode without control and bidi
    characters.

    Each run of controls becomes one space. Text longer than `longest` characters ends with an
    ellipsis.
    """
    # Cut before replacing, so that the work is bounded for a value of megabytes.
    is_long = len(text) > longest
    line = well_formed(_CONTROLS.sub(" ", text[:longest]), characters=longest).strip()
    return f"{line[: longest - 1]}…" if is_long else line


def readable(text: str) -> str:
    """Text of several lines for a page or a traceback: like `one_line`, but keeps line feeds and
    tabs and cuts nothing.
    """
    return well_formed(_UNREADABLE.sub(" ", text), characters=len(text))


def printable(text: str) -> str:
    """The text on one line for a terminal: each unprintable character becomes a space; nothing is
    cut.

    Unlike `one_line` it also replaces invisible format, unassigned and private-use characters.
    """
    return "".join(character if character.isprintable() else " " for character in text)


def printable_json(text: str) -> str:
    """JSON for a terminal: unprintable characters are escaped, which changes no value."""
    return _ILL_FORMED.sub(_escaped, _UNREADABLE.sub(_escaped, text))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def cut_encoded(text: str, *, most_bytes: int, most_characters: int) -> str:
    """The longest printable prefix of the text within both bounds.

    `most_bytes` counts the text as ASCII JSON with its quotes, as it is sent to Temporal, where an
    emoji has 12 bytes. Unprintable characters (controls, lone surrogates) become U+FFFD.
    """
    shown = "".join(
        letter if letter.isprintable() else REPLACEMENT for letter in text[:most_characters]
    )
    if _encoded_bytes(shown) <= most_bytes:
        return shown
    fits, too_long = 0, len(shown)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _encoded_bytes(shown[:middle]) <= most_bytes:
            fits = middle
        else:
            too_long = middle
    return shown[:fits]


def _encoded_bytes(text: str) -> int:
    return len(json.dumps(text))
