"""The fields whose value never causes a refusal: error texts and the payload snapshot.

Any value of an error text becomes well-formed text. A payload that cannot be stored is dropped, and
the timeline gets a note. The source is the contract, section "Ingest".
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
TOO_LARGE_NOTE = "The payload was not stored: it is larger than 32 KiB."
UNSEALED_NOTE = "The payload was not stored: it could not be encrypted."
ILL_FORMED_NOTE = "The payload was not stored: it is not a well-formed JSON object."


def _parse_error_text(value: object) -> str | None:
    """A value of any type as well-formed text; None when it is empty."""
    if isinstance(value, RawMember):
        value = value.text()
    if value is None or value == "":
        return None
    # Pydantic refuses a string with a lone surrogate.
    return well_formed(value if isinstance(value, str) else to_json(value).decode())


ErrorText = Annotated[
    str | None, BeforeValidator(_parse_error_text, json_schema_input_type=str | None)
]


def stored_error_text(text: str | None, *, status: ResultStatus, characters: int) -> str | None:
    """The error text as it is stored, cut to `characters`; None for a success."""
    if text is None or status is ResultStatus.SUCCESS:
        return None
    return well_formed(text, characters=characters)


def payload_of(sent: object) -> tuple[str | None, str | None]:
    """The payload's JSON text, or a note why it is not stored. Both are None without a payload."""
    if sent is None:
        return None, None
    if not isinstance(sent, dict):
        return None, ILL_FORMED_NOTE
    payload = to_json(sent)
    if len(payload) > MAXIMUM_PAYLOAD_BYTES:
        return None, TOO_LARGE_NOTE
    return payload.decode(), None
