"""Converts errors of activities into failures that are short enough for Temporal to keep.

Temporal keeps 4 KiB of the last failure of an activity that it retries. It replaces a longer
failure by "Failure exceeds size limit". Payloads are decoded by `worker.temporal.payloads`. Used by
every client that `worker.temporal.connect` creates.
"""

from collections.abc import Iterator

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter, DefaultFailureConverter, PayloadConverter

from worker.temporal.payloads import TolerantPayloadConverter

MESSAGE_BYTES = 500
TRACE_BYTES = 1_500
CAUSES = 3
_CUT = "… "


class ShortFailureConverter(DefaultFailureConverter):
    """Keeps the end of the stack trace and the messages of the first causes."""

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """Convert and shorten. The base class calls this for the causes first."""
        super().to_failure(exception, payload_converter, failure)
        failure.message = _head(failure.message, MESSAGE_BYTES)
        failure.stack_trace = _tail(failure.stack_trace, TRACE_BYTES)
        for number, cause in enumerate(_causes(failure), 1):
            cause.stack_trace = ""
            if number == CAUSES:
                cause.ClearField("cause")


SHORT_FAILURES = DataConverter(
    payload_converter_class=TolerantPayloadConverter, failure_converter_class=ShortFailureConverter
)


def _causes(failure: Failure) -> Iterator[Failure]:
    while failure.HasField("cause"):
        failure = failure.cause
        yield failure


def _head(text: str, size: int) -> str:
    encoded = text.encode()
    return text if len(encoded) <= size else encoded[:size].decode(errors="ignore") + _CUT.rstrip()


def _tail(text: str, size: int) -> str:
    encoded = text.encode()
    return text if len(encoded) <= size else _CUT + encoded[-size:].decode(errors="ignore")
