"""The ids of this project's own things, in the wire's spelling (`evt_` and 32 hexadecimal digits).

Ids are the same text everywhere: on the wire, in the store, in Temporal. Minting needs randomness and lives in
`store.crypto.tokens`.
"""

from typing import NewType

EventId = NewType("EventId", str)
IncidentId = NewType("IncidentId", str)
ReplayId = NewType("ReplayId", str)
ResultId = NewType("ResultId", str)
ProjectId = NewType("ProjectId", str)
KeyId = NewType("KeyId", str)
UserId = NewType("UserId", str)
