"""Times typed into forms. A browser's field for date and time has no zone: it is the reader's."""

import re
from datetime import datetime, tzinfo

from domain.values.timestamps import to_iso

_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?", re.ASCII)


def instant_of_local(typed: str, zone: tzinfo) -> str:
    """The instant of a local time, in ISO 8601. Text of another form stays as it is."""
    try:
        local = datetime.fromisoformat(typed)
        if local.tzinfo is not None or not _LOCAL_TIME.fullmatch(typed):
            return typed
        return to_iso(local.replace(tzinfo=zone))
    except (ValueError, OverflowError):
        return typed
