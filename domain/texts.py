"""What is kept of text from outside: no NUL, which PostgreSQL cannot store, and no more than 2,048 characters."""

import json

LONGEST = 2_048
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def kept(text: str) -> str:
    """The text as it may be stored, logged or put in an error."""
    return text.replace("\0", "")[:LONGEST]


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
