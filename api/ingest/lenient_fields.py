"""The fields of receipts and results that are never a reason to refuse a request: error texts, and the payload snapshot.

An error text becomes well-formed text, whatever was sent. A payload that cannot be kept is dropped with a note for the timeline.
The source is the contract, section "Ingest". Used by `api.ingest.schemas` and `api.ingest.endpoint`.
"""

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import to_json

from api.http.request_body import RawMember
from domain.receipts import MAXIMUM_PAYLOAD_BYTES
from domain.results import ResultStatus
from domain.values.text import well_formed

TOLERATED_IN_RECEIPT = frozenset({"payload"})
TOLERATED_IN_RESULT = frozenset({"error_code", "error_message"})
ERROR_CODE_CHARACTERS = 255
TOO_LARGE_NOTE = "The payload was not kept: it is larger than 32 KiB."
UNSEALED_NOTE = "The payload was not kept: it could not be encrypted."
ILL_FORMED_NOTE = "The payload was not kept: it is not a well-formed JSON object."


def _read_prose(value: object) -> str | None:
    """What a person or a program wrote about a failure, whatever its form; None when it is empty."""
    if isinstance(value, RawMember):
        value = value.text()
    if value is None or value == "":
        return None
    # Pydantic takes no half of a surrogate pair for a string.
    return well_formed(value if isinstance(value, str) else to_json(value).decode())


Prose = Annotated[str | None, BeforeValidator(_read_prose, json_schema_input_type=str | None)]


def prose_kept(text: str | None, *, status: ResultStatus, characters: int) -> str | None:
    """An error text as it is stored: of a failed result alone, cut to `characters`."""
    return None if text is None or status is ResultStatus.SUCCESS else well_formed(text, characters=characters)


def payload_of(sent: object) -> tuple[str | None, str | None]:
    """The payload's JSON text, or the note that says why it cannot be kept; neither when none was sent."""
    if sent is None:
        return None, None
    if not isinstance(sent, dict):
        return None, ILL_FORMED_NOTE
    payload = to_json(sent)
    return (None, TOO_LARGE_NOTE) if len(payload) > MAXIMUM_PAYLOAD_BYTES else (payload.decode(), None)
