"""Decodes Temporal's payloads without failing a workflow task for one that cannot be decoded.

The library fails the task, or drops the signal, when a payload without a declared type cannot be
decoded. Here such a payload becomes `UNREADABLE`, which the handlers of `workflows.receipt` treat
like any other invalid value. Payloads with a declared type are decoded as usual. Used by every
client that `worker.temporal.connect` creates.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import DefaultPayloadConverter


class Unreadable(Enum):
    """Replaces a payload that cannot be decoded."""

    UNREADABLE = "unreadable"


UNREADABLE = Unreadable.UNREADABLE


class TolerantPayloadConverter(DefaultPayloadConverter):
    """Decodes payloads as the SDK does; one without a declared type never raises."""

    # Any: the base class's own types.
    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """Decode the payloads. Those without type hints never raise."""
        if type_hints is not None:
            return super().from_payloads(payloads, type_hints)
        return [self._value_or_unreadable(payload) for payload in payloads]

    def _value_or_unreadable(self, payload: Payload) -> Any:
        try:
            return super().from_payloads([payload])[0]
        except Exception:
            # The edge of a signal: any decoder may raise any error for bytes from outside.
            return UNREADABLE
