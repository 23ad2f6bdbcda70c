"""What is kept of text from outside: well-formed Unicode without NUL, cut to a length.

And what of it reaches people: `one_line` for mail and logs, `readable` for pages and tracebacks, `printable` for terminals.
"""

import json
import re

LONGEST = 2_048
REPLACEMENT = "\ufffd"
# PostgreSQL cannot store NUL; half a surrogate pair cannot be encoded as UTF-8 at all.
_ILL_FORMED = re.compile("[\0\ud800-\udfff]")
# What moves a cursor, breaks a line or turns the reading direction: C0, DEL, C1, U+2028/2029, and the bidi controls.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
# The same without tab and line feed, which a page shows as white space.
_UNREADABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def well_formed(text: str, *, characters: int = LONGEST) -> str:
    """The first `characters` of the text, with U+FFFD in place of each NUL and each half of a surrogate pair."""
    return _ILL_FORMED.sub(REPLACEMENT, text[:characters])


def is_storable(text: str) -> bool:
    """Whether a database takes the text as it is."""
    return _ILL_FORMED.search(text) is None


def sanitize(text: str) -> str:
    """The text as it may be stored, logged or put in an error: without NUL, well-formed, cut to 2,048 characters."""
    return well_formed(text.replace("\0", ""))


def one_line(text: str, *, longest: int = LONGEST) -> str:
    """The text on one line of a mail, log or page: well-formed Unicode, no control and no bidi character.

    Each run of controls becomes one space; what is longer than `longest` ends with an ellipsis.
    """
    # Cut before the replacing, so that a value of megabytes costs no more than one of the longest.
    is_long = len(text) > longest
    line = well_formed(_CONTROLS.sub(" ", text[:longest]), characters=longest).strip()
    return f"{line[: longest - 1]}…" if is_long else line


def readable(text: str) -> str:
    """The text of a page or a traceback, of several lines: as `one_line`, but line feeds and tabs stay and nothing is cut."""
    return well_formed(_UNREADABLE.sub(" ", text), characters=len(text))


def printable(text: str) -> str:
    """The text for a terminal, on one line: each character that a terminal does not print as itself becomes a space.

    Beyond `one_line`'s these are invisible format characters, unassigned ones and private use. Nothing is cut off.
    """
    return "".join(character if character.isprintable() else " " for character in text)


def printable_json(text: str) -> str:
    """JSON for a terminal: what a terminal does not print as itself is escaped, which changes no value."""
    return _ILL_FORMED.sub(_escaped, _UNREADABLE.sub(_escaped, text))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def cut_encoded(text: str, *, most_bytes: int, most_characters: int) -> str:
    """The longest beginning of the text, made printable, that keeps to both bounds.

    `most_bytes` counts the text as JSON in ASCII with its quotes, as Temporal is sent it: an emoji has 12 bytes there.
    What no reader can show (controls, lone surrogates) becomes U+FFFD.
    """
    shown = "".join(letter if letter.isprintable() else REPLACEMENT for letter in text[:most_characters])
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
