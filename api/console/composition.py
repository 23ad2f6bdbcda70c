"""What the console is built from. The composition root of the API fills this in; nothing here opens or reads anything."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from api.console.sign_in.oidc_provider import OidcProvider
from api.http.client_address import Network
from operations.composition import Operations
from operations.readiness import CheckStatus
from store.crypto.encryption import Sealer
from store.db.database import Database

Readiness = Callable[[], Awaitable[dict[str, CheckStatus]]]


@dataclass(frozen=True, slots=True)
class ConsoleParts:
    """`readiness` is that of `Health`.

    `mailbox_path` is None when mail goes to another server, `temporal_ui_url` when no UI is known, `issuer` when
    nobody signs in through an identity provider.
    """

    operations: Operations
    database: Database
    sealer: Sealer
    secret_key: str
    public_url: str
    temporal_ui_url: str | None
    temporal_namespace: str
    mailbox_path: Path | None
    readiness: Readiness
    now: Callable[[], datetime]
    previous_secret_key: str | None = field(default=None, repr=False)
    trusted_proxies: tuple[Network, ...] = ()
    issuer: OidcProvider | None = None
