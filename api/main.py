"""Composes and runs one API process: opens the dependencies, serves until a signal, closes them.

It opens no Temporal client. `cli` passes in what `api` must not import: see `OutsideCalls`.
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import monotonic
from types import FrameType

import structlog
import uvicorn
from uvicorn.loops.auto import auto_loop_factory

from api.app import create_app
from api.composition import AppDependencies, AppSettings
from api.console.sign_in.oidc_provider import OidcClient
from api.http.server_protocol import BoundedProtocol
from config.logging import configure_logging
from config.settings import Settings
from domain.garbage_collection import tune_garbage_collection
from egress.provider_api import ProviderUrls
from egress.transport import GuardedTransport
from operations.alerts.destinations import SendTrial
from operations.inputs import JudgeRepairUrl
from operations.instance.findings import Examine
from operations.repair_url.trial import CallRepairUrl
from operations.sources.check import ProviderCheck
from store.crypto.encryption import Sealer
from store.crypto.process_secrets import refuse_unknown_secret
from store.crypto.root_secret import SecretUnknown
from store.db.database import Database
from store.db.pool_limits import API_WRITERS
from store.ingest.connection import open_ingest_connection
from store.ingest.group_commit import Committer

GRACEFUL_SECONDS = 2  # less than a supervisor waits
KEEP_ALIVE_SECONDS = 75
BACKLOG = 2_048

# Stopping takes less. `timeout` and process managers send a second signal in a row.
IGNORE_SIGNALS_SECONDS = 10.0

log = structlog.get_logger(__name__)

WatchedLoop = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class OutsideCalls:
    """Functions of the packages that `api` must not import: the activities and `makegood doctor`.

    `watched_loop` is entered on the event loop, and watches that it runs.
    """

    judge_repair_url: JudgeRepairUrl
    send_trial: SendTrial
    call_repair_url: CallRepairUrl
    examine: Examine
    watched_loop: WatchedLoop


class _Server(uvicorn.Server):
    """uvicorn's server. A second signal within 10 s of the first does not cut requests off."""

    _stopped_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._stopped_at is None:
            self._stopped_at = monotonic()
            super().handle_exit(sig, frame)
        elif monotonic() - self._stopped_at > IGNORE_SIGNALS_SECONDS:
            self.force_exit = True


def run_api(settings: Settings, outside: OutsideCalls) -> int:
    """Serve until SIGINT or SIGTERM. Returns 0 after a signal, 1 when the start failed."""
    configure_logging(settings.log_level, settings.log_format, role="api")
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        return runner.run(_serve(settings, outside))


async def _serve(settings: Settings, outside: OutsideCalls) -> int:
    secret_key, previous = settings.read_secret_key(), settings.read_previous_secret_key()
    database = Database.open(settings.database_url_or_default, writers=API_WRITERS)
    parts = AppDependencies(
        database=database,
        sealer=Sealer(secret_key, previous),
        committer=Committer(open_ingest_connection(database.url), database.clock),
        judge_repair_url=outside.judge_repair_url,
        settings=app_settings(settings, secret_key=secret_key, previous_secret_key=previous),
        issuer_transport=issuer_transport(settings),
        provider_check=provider_check(settings),
        send_trial=outside.send_trial,
        call_repair_url=outside.call_repair_url,
        examine=outside.examine,
    )
    try:
        await refuse_unknown_secret(database, parts.sealer)
        server = _Server(server_config(create_app(parts), host=settings.host, port=settings.port))
        # After it has stopped, uvicorn raises the signal again for the previous handler.
        # The default handler would terminate the process here.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _already_listening)
        tune_garbage_collection()
        with outside.watched_loop():
            await server.serve()
        return 0 if server.started else 1
    except SecretUnknown as error:
        log.error("secret_key_unknown", reason=str(error))
        return 1
    except SystemExit:  # uvicorn could not listen and has logged the reason
        return 1
    finally:
        await database.close()


def issuer_transport(settings: Settings) -> GuardedTransport | None:
    """The transport of requests to the identity provider; None without a provider."""
    return None if settings.oidc_issuer is None else GuardedTransport(allow=settings.egress_allow)


def provider_check(settings: Settings) -> ProviderCheck:
    """What asks the providers of sources whether their keys work."""
    return ProviderCheck(
        urls=ProviderUrls.given(stripe=settings.stripe_api_url, shopify=settings.shopify_api_url),
        allow_live=settings.egress_of(livemode=True),
        allow_test=settings.egress_of(livemode=False),
    )


def app_settings(
    settings: Settings, *, secret_key: str, previous_secret_key: str | None = None
) -> AppSettings:
    """The settings that the HTTP application needs, taken from those of the environment."""
    has_own_mailbox = settings.smtp_url is None
    own_ui_url: str | None = None
    if settings.temporal_address is None:
        own_ui_url = f"http://127.0.0.1:{settings.temporal_ui_port}"
    return AppSettings(
        public_url=settings.public_url_or_default,
        secret_key=secret_key,
        previous_secret_key=previous_secret_key,
        rate_limit=settings.rate_limit,
        rate_burst=settings.rate_burst,
        outage_seconds=settings.outage_seconds,
        is_metrics_open=settings.metrics_open,
        temporal_ui_url=settings.temporal_ui_url or own_ui_url,
        callback_schedule_seconds=settings.callback_schedule_seconds,
        temporal_namespace=settings.temporal_namespace,
        mailbox_path=settings.mailbox_dir if has_own_mailbox else None,
        trusted_proxies=settings.trusted_proxies,
        oidc=_oidc_client(settings),
    )


def _oidc_client(settings: Settings) -> OidcClient | None:
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    secret = settings.oidc_client_secret
    client_secret = None if secret is None else secret.get_secret_value()
    return OidcClient(settings.oidc_issuer, settings.oidc_client_id, client_secret)


def server_config(app: object, *, host: str, port: int) -> uvicorn.Config:
    """uvicorn's configuration: no access log, no proxy headers, no `Server` header."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # uvicorn's application types do not include FastAPI's
        host=host,
        port=port,
        http=BoundedProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=BACKLOG,
    )


def _already_listening(number: int, frame: FrameType | None) -> None:
    del number, frame
