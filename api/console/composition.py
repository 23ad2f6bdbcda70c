"""The dependencies of the console. `api.app` fills them in."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from api.console.sign_in.oidc_provider import OidcProvider
from api.http.client_address import Network
from domain.retries import CALLBACK_SCHEDULE_SECONDS
from operations.composition import Operations
from operations.instance.findings import Examine
from operations.readiness import CheckStatus
from store.crypto.encryption import Sealer
from store.db.database import Database

Readiness = Callable[[], Awaitable[dict[str, CheckStatus]]]


@dataclass(frozen=True, slots=True)
class ConsoleDependencies:
    """What the console is built from.

    `readiness` is that of `Health`. `mailbox_path` is None if mail goes to another server,
    `temporal_ui_url` if no UI is known, `oidc_provider` if no identity provider is configured,
    `examine` if this process runs no checks.
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
    oidc_provider: OidcProvider | None = None
    callback_schedule_seconds: tuple[int, ...] = CALLBACK_SCHEDULE_SECONDS
    examine: Examine | None = None
