"""What an operator says of a source: a new one, or new values for some of its fields.

The secret never appears in a `repr`, so no log line and no traceback shows it.
"""

from dataclasses import dataclass, field

from domain.projects import UNSET, Untouched
from domain.sources.source import Expects, ShopifyIdentity, SourceKind


@dataclass(frozen=True, slots=True)
class NewSource:
    """A validated source that is not stored yet. The fields are those of `Source`.

    `secret`: the endpoint's signing secret of a webhook, the provider's key of an API.
    """

    kind: SourceKind
    name: str
    expects: tuple[Expects, ...]
    secret: str = field(repr=False)
    every_minutes: int | None = None
    silent_after_minutes: int | None = None
    shop_domain: str | None = None
    account: str | None = None
    identity: ShopifyIdentity = ShopifyIdentity.OBJECT_ID


@dataclass(frozen=True, slots=True)
class SourceChanges:
    """New values for some fields of a source. Its kind, shop and account never change.

    `silent_after_minutes` None: it is never silent.
    """

    name: str | Untouched = UNSET
    expects: tuple[Expects, ...] | Untouched = UNSET
    secret: str | Untouched = field(default=UNSET, repr=False)
    every_minutes: int | Untouched = UNSET
    silent_after_minutes: int | Untouched | None = UNSET
    identity: ShopifyIdentity | Untouched = UNSET
    is_paused: bool | Untouched = UNSET
