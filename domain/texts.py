"""What is kept of text from outside: no NUL, which PostgreSQL cannot store, and no more than 2,048 characters."""

LONGEST = 2_048


def kept(text: str) -> str:
    """The text as it may be stored, logged or put in an error."""
    return text.replace("\0", "")[:LONGEST]
