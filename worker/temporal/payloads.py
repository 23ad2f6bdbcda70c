"""Decodes what Temporal hands over, and says so where it cannot: no payload fails a workflow task.

The library fails the task, or drops the signal, when a payload without a declared type cannot be decoded. Here such a payload
becomes `UNREADABLE`, which the handlers of `workflows.receipt` read like any other odd value. A typed payload is decoded as ever.
Used by every client that `worker.temporal.connect` makes.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import DefaultPayloadConverter


class Unreadable(Enum):
    """What stands for a payload that cannot be decoded."""

    UNREADABLE = "unreadable"


UNREADABLE = Unreadable.UNREADABLE


class TolerantPayloadConverter(DefaultPayloadConverter):
    """The library's own converter, but for payloads without a declared type."""

    # Any: the base class's own types.
    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """See the base class."""
        if type_hints is not None:
            return super().from_payloads(payloads, type_hints)
        return [self._value_or_unreadable(payload) for payload in payloads]

    def _value_or_unreadable(self, payload: Payload) -> Any:
        try:
            return super().from_payloads([payload])[0]
        except Exception:
            # The edge of a signal: bytes from outside that no decoder takes, each with errors of its own.
            return UNREADABLE
