"""Reads the Retry-After header of an answer. Pure."""

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# The HTTP date without a zone, which means GMT (RFC 9110, 5.6.7).
_ASCTIME = re.compile(
    r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}"
)


def read_retry_after(text: str | None, *, now: datetime) -> int | None:
    """The whole seconds of a Retry-After header: a number or an HTTP date. None for neither."""
    if text is None:
        return None
    digits = text.strip()
    if re.fullmatch(r"[0-9]+", digits):
        return int(digits) if len(digits) <= 9 else 10**9
    try:
        asked_at = parsedate_to_datetime(text)
        if _ASCTIME.fullmatch(text):
            asked_at = asked_at.replace(tzinfo=UTC)
        # Another date without a zone is no HTTP date: the subtraction raises a TypeError.
        return max(0, math.ceil((asked_at - now).total_seconds()))
    except (ValueError, OverflowError, TypeError):
        return None
