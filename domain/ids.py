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
GroupId = NewType("GroupId", str)
BulkId = NewType("BulkId", str)
HoldId = NewType("HoldId", str)
RuleId = NewType("RuleId", str)
PasskeyId = NewType("PasskeyId", str)

_EVENT_ID = re.compile(r"evt_[0-9a-f]{32}")
_PROJECT_ID = re.compile(r"prj_[0-9a-f]{32}")
_GROUP_ID = re.compile(r"grp_[0-9a-f]{32}")
_BULK_ID = re.compile(r"blk_[0-9a-f]{32}")
_RULE_ID = re.compile(r"rul_[0-9a-f]{32}")


def is_event_id(text: str) -> bool:
    """Whether the text has the form of our id of an event."""
    return _EVENT_ID.fullmatch(text) is not None


def is_project_id(text: str) -> bool:
    """Whether the text has the form of a project's id. Alerts about a project name it where others
    name an incident.
    """
    return _PROJECT_ID.fullmatch(text) is not None


def is_group_id(text: str) -> bool:
    """Whether the text has the form of a group's id. Alerts about a group name it where others name
    an incident.
    """
    return _GROUP_ID.fullmatch(text) is not None


def is_bulk_id(text: str) -> bool:
    """Whether the text has the form of a bulk repair's id."""
    return _BULK_ID.fullmatch(text) is not None


def is_rule_id(text: str) -> bool:
    """Whether the text has the form of the id of a rule of automatic repair."""
    return _RULE_ID.fullmatch(text) is not None
