"""Types of this project's own ids, in the contract's spelling (`evt_` and 32 hexadecimal digits).

An id is the same text in the API, in the store and in Temporal. `store.crypto.tokens` creates ids,
because that needs randomness.
"""

import re
from typing import NewType

EventId = NewType("EventId", str)
IncidentId = NewType("IncidentId", str)
ReplayId = NewType("ReplayId", str)
ResultId = NewType("ResultId", str)
ProjectId = NewType("ProjectId", str)
KeyId = NewType("KeyId", str)
UserId = NewType("UserId", str)
DestinationId = NewType("DestinationId", str)
SourceId = NewType("SourceId", str)
PasskeyId = NewType("PasskeyId", str)

_PROJECT_ID = re.compile(r"prj_[0-9a-f]{32}")


def is_project_id(text: str) -> bool:
    """Whether the text has the form of a project's id. Alerts about a project name it where others
    name an incident.
    """
    return _PROJECT_ID.fullmatch(text) is not None
