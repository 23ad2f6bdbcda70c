"""The input models of sources, with their limits, for REST, the console and the command line.

What depends on the project or the source's kind is checked in `operations.sources.rules`.
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from domain.receipts import MAXIMUM_TIMEOUT_MINUTES, MINIMUM_TIMEOUT_MINUTES
from domain.sources.json_pointer import MAXIMUM_POINTER_CHARACTERS, is_pointer
from domain.sources.source import (
    DEFAULT_WITHIN_MINUTES,
    MAXIMUM_EXPECTS,
    ShopifyIdentity,
    SourceKind,
)
from domain.values.text import is_storable
from operations.inputs import Name
from operations.names import EffectTypeText, EventTypeText
from operations.validation import Minutes, check_form

SHORTEST_SECRET, LONGEST_SECRET = 8, 500
MAXIMUM_EVERY_MINUTES = 1_440
MAXIMUM_SILENT_MINUTES = 43_200


def _pointer(text: str) -> str:
    if text and is_pointer(text) and is_storable(text):
        return text
    message = "Must be a JSON pointer, such as /data/object/metadata/order_id."
    raise PydanticCustomError("invalid_format", message)


# Each of them ends in a header, or is a key of HMAC: printable, and without blanks.
_PRINTABLE = r"^[\x21-\x7e]*$"
_SHOP = r"^(?i:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.myshopify\.com)$"
_ACCOUNT = r"^acct_[A-Za-z0-9]{1,64}$"
_SecretText = Annotated[
    str,
    StringConstraints(min_length=SHORTEST_SECRET, max_length=LONGEST_SECRET, strip_whitespace=True),
    check_form(_PRINTABLE, "Must be printable ASCII without blanks: copy it again."),
    Field(json_schema_extra={"pattern": _PRINTABLE}),
]
Pointer = Annotated[
    str, StringConstraints(max_length=MAXIMUM_POINTER_CHARACTERS), AfterValidator(_pointer)
]
EveryMinutes = Annotated[int, Field(strict=True, ge=1, le=MAXIMUM_EVERY_MINUTES)]
SilentMinutes = Annotated[int, Field(strict=True, ge=1, le=MAXIMUM_SILENT_MINUTES)]
ShopDomain = Annotated[
    str,
    StringConstraints(to_lower=True, strip_whitespace=True, max_length=255),
    check_form(_SHOP, "Must be the shop's own domain, name.myshopify.com."),
    Field(json_schema_extra={"pattern": _SHOP}),
]
Account = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    check_form(_ACCOUNT, "Must be the id of a connected account, which begins with acct_."),
    Field(json_schema_extra={"pattern": _ACCOUNT}),
]


class ExpectedEvent(BaseModel):
    """A type of event that the app must send a receipt for."""

    model_config = ConfigDict(frozen=True)

    event_type: EventTypeText = Field(
        description="The provider's type: one of the contract, or one that the project added."
    )
    effect_type: EffectTypeText = Field(description="The effect that the app's receipt names.")
    within_minutes: Minutes = Field(
        default=DEFAULT_WITHIN_MINUTES,
        description="Minutes for the receipt, from the moment when the source sees the event."
        " Whole minutes in a live project.",
        json_schema_extra={
            "minimum": MINIMUM_TIMEOUT_MINUTES["test"],
            "maximum": MAXIMUM_TIMEOUT_MINUTES,
        },
    )
    reference: Pointer | None = Field(
        default=None,
        description="A JSON pointer (RFC 6901) into the event, to the app's own id of the thing"
        " affected. Null: the type's default.",
    )
    livemode: Annotated[bool, Field(strict=True)] | None = Field(
        default=None, description="Must be the project's mode, which is the default."
    )


ExpectedEvents = Annotated[list[ExpectedEvent], Field(min_length=1, max_length=MAXIMUM_EXPECTS)]


class SourceSecrets(BaseModel):
    """The secret of a source, under the name that its kind has."""

    signing_secret: _SecretText | None = Field(
        default=None,
        description="Of a webhook: what signs its deliveries. A new source may lack it: until it is"
        " saved, no delivery is taken. It is stored encrypted, and never shown.",
        repr=False,
    )
    api_key: _SecretText | None = Field(
        default=None,
        description="Of a listing: Stripe's restricted key, or the shop's access token. It is"
        " stored encrypted, and never shown.",
        repr=False,
    )


class NewSourceBody(SourceSecrets):
    """A new source. Events from now on are expected."""

    model_config = ConfigDict(frozen=True, title="NewSource")

    kind: SourceKind
    name: Name
    expects: ExpectedEvents
    every_minutes: EveryMinutes | None = Field(
        default=None, description="Of a listing: minutes between two. Default 5."
    )
    silent_after_minutes: SilentMinutes | None = Field(
        default=None,
        description="Minutes without any event until an alert goes out, of a listing at least twice"
        " `every_minutes`. Null: never.",
    )
    shop_domain: ShopDomain | None = Field(
        default=None, description="Of Shopify: the shop, `name.myshopify.com`."
    )
    account: Account | None = Field(
        default=None, description="Of `stripe_api`: the connected account to list, `acct_…`."
    )
    identity: ShopifyIdentity | None = Field(
        default=None,
        description="Of Shopify: what the app sends as `provider_event_id`. Default `object_id`.",
    )


class SourcePatch(SourceSecrets):
    """New values for some fields of a source. Omitted fields keep their value.

    The kind, the shop and the account never change: add another source.
    """

    model_config = ConfigDict(frozen=True, title="SourceChanges")

    name: Name = ""
    expects: ExpectedEvents = Field(default_factory=list)
    every_minutes: EveryMinutes = 1
    silent_after_minutes: SilentMinutes | None = Field(
        default=None, description="Null: it is never silent."
    )
    identity: ShopifyIdentity = ShopifyIdentity.OBJECT_ID
    paused: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="A paused source expects nothing and lists nothing."
    )
    # Given only to be refused.
    kind: SourceKind | None = Field(default=None, description="Must be the source's own.")
    shop_domain: ShopDomain | None = Field(default=None, description="Must be the source's own.")
    account: Account | None = Field(default=None, description="Must be the source's own.")
