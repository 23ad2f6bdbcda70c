"""The dependencies of an API process. `api.main` opens the real ones; tests pass their own."""

from dataclasses import dataclass, field
from pathlib import Path

import httpx

from api.console.sign_in.oidc_provider import OidcClient
from api.http.client_address import Network
from domain.retries import CALLBACK_SCHEDULE_SECONDS
from operations.alerts.destinations import SendTrial
from operations.inputs import JudgeRepairUrl
from operations.instance.findings import Examine
from operations.repair_url.trial import CallRepairUrl
from operations.sources.check import ProviderCheck
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.ingest.group_commit import Committer


@dataclass(frozen=True, slots=True)
class AppSettings:
    """The settings of the application, as plain values. The defaults are the contract's."""

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
    callback_schedule_seconds: tuple[int, ...] = CALLBACK_SCHEDULE_SECONDS


@dataclass(frozen=True, slots=True)
class AppDependencies:
    """The opened dependencies.

    `issuer_transport` checks the addresses of requests to the identity provider. It is needed only
    with `oidc`. `provider_check` None: the providers' own addresses are asked. `send_trial` and
    `call_repair_url` None: test alerts and test calls are answered by a failure. `examine` None:
    the page of the installation's health has no findings. `create_app` starts and stops the
    committer, and closes nothing else.
    """

    database: Database
    sealer: Sealer
    committer: Committer
    judge_repair_url: JudgeRepairUrl
    settings: AppSettings
    issuer_transport: httpx.AsyncBaseTransport | None = None
    provider_check: ProviderCheck | None = None
    send_trial: SendTrial | None = None
    call_repair_url: CallRepairUrl | None = None
    examine: Examine | None = None
