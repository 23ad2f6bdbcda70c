"""What an API process is made of. `api.main` opens the real parts; a test hands in its own."""

from dataclasses import dataclass, field
from pathlib import Path

import httpx

from api.console.sign_in.oidc_provider import OidcClient
from api.http.client_address import Network
from operations.inputs import JudgeRepairUrl
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.ingest.group_commit import Committer


@dataclass(frozen=True, slots=True)
class AppSettings:
    """The settings that the application itself obeys, as plain values; the defaults are the contract's."""

    public_url: str
    secret_key: str = field(repr=False)
    previous_secret_key: str | None = field(default=None, repr=False)
    rate_limit: int = 1_000
    rate_burst: int = 2_000
    outage_seconds: int = 60
    is_metrics_open: bool = False
    temporal_ui_url: str | None = None
    temporal_namespace: str = "default"
    mailbox_path: Path | None = None
    trusted_proxies: tuple[Network, ...] = ()
    oidc: OidcClient | None = None


@dataclass(frozen=True, slots=True)
class AppDependencies:
    """The opened parts; `issuer_transport` judges where requests to the identity provider lead, and is needed with `oidc` alone.

    `create_app` starts and stops the committer, and closes nothing that it did not open."""

    database: Database
    sealer: Sealer
    committer: Committer
    judge_repair_url: JudgeRepairUrl
    settings: AppSettings
    issuer_transport: httpx.AsyncBaseTransport | None = None
