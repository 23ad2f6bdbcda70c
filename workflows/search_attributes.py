"""The search attributes of the `receipt` workflow: names and types, spelled here only.

They are used for search only, and any of them may be missing in a namespace. Registered by
`worker.temporal.search_attributes`, written at the start by `worker.temporal.workflow_labels` and
later by the workflow.
"""

from typing import Any

from temporalio.common import SearchAttributeKey

MG_STATE = SearchAttributeKey.for_keyword("MgState")
MG_INCIDENT_ID = SearchAttributeKey.for_keyword("MgIncidentId")
MG_PROJECT = SearchAttributeKey.for_keyword("MgProject")
MG_DEADLINE = SearchAttributeKey.for_datetime("MgDeadline")
MG_PROVIDER_EVENT_ID = SearchAttributeKey.for_keyword("MgProviderEventId")
MG_EVENT_TYPE = SearchAttributeKey.for_keyword("MgEventType")
MG_MODE = SearchAttributeKey.for_keyword("MgMode")
MG_PROVIDER = SearchAttributeKey.for_keyword("MgProvider")
MG_EFFECT = SearchAttributeKey.for_keyword("MgEffect")

# In order of priority, where not all of them can be registered. Any: keys of two types.
SEARCH_ATTRIBUTE_KEYS: tuple[SearchAttributeKey[Any], ...] = (
    MG_STATE,
    MG_INCIDENT_ID,
    MG_PROJECT,
    MG_DEADLINE,
    MG_PROVIDER_EVENT_ID,
    MG_EVENT_TYPE,
    MG_MODE,
    MG_PROVIDER,
    MG_EFFECT,
)
