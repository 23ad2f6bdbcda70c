"""Cuts a long text for a page, which shows the rest on request. Pure."""

LINES_SHOWN = 6
CHARACTERS_SHOWN = 480


def clamped(text: str) -> str:
    """The beginning of the text. The text itself if all of it is shown."""
    lines = text.strip("\n").splitlines()
    head = "\n".join(lines[:LINES_SHOWN])
    if len(lines) <= LINES_SHOWN and len(head) <= CHARACTERS_SHOWN:
        return text
    return head[:CHARACTERS_SHOWN].rstrip() + "…"
