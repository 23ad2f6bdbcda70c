"""Turns the settings into the parts of a worker: the one place of `worker` that knows a setting by its name.

Opens nothing but the files of certificates; the store connects when it is first used. Called by `worker.main`.
"""

import random
import secrets
from datetime import UTC, datetime
from functools import partial

from activities.callback import CallbackRules, Chance
from activities.smtp import SmtpMailer, parse_mail_server
from activities.transport import exchange
from settings import Settings
from store.database import Database
from store.sealing import Sealer
from worker.connect import Engine
from worker.parts import WorkerParts

# What the activity's start-to-close timeout leaves room for.
LONGEST_CALLBACK_SECONDS = 30


def parts_from(settings: Settings) -> WorkerParts:
    """The parts of a real worker.

    Raises:
        SettingsError, ValueError: a setting is missing or wrong.
    """
    timeout_seconds = min(settings.callback_timeout_seconds, LONGEST_CALLBACK_SECONDS)
    return WorkerParts(
        database=Database.open(settings.database_url_or_default),
        sealer=Sealer(settings.read_secret_key()),
        mailer=SmtpMailer(parse_mail_server(settings.smtp_url_or_default)),
        transport=partial(exchange, allow=settings.egress_allow, timeout_seconds=timeout_seconds),
        rules=CallbackRules(schedule=settings.callback_schedule_seconds, jitter=settings.callback_jitter),
        chance=Chance(draw=random.random, nonce=lambda: secrets.token_hex(16), now=lambda: datetime.now(UTC)),
        mail_from=settings.mail_from,
        public_url=settings.public_url_or_default,
        holds_when_ingest_is_down=settings.outage_seconds > 0,
        dispatch_rate=settings.dispatch_rate,
        reconcile_seconds=settings.reconcile_seconds,
        owns_namespace=settings.temporal_address is None,
    )


def engine_from(settings: Settings, *, identity: str) -> Engine:
    """Where the settings say that Temporal is. Raises: OSError when a certificate cannot be read."""
    certificates = (settings.temporal_tls_ca_cert, settings.temporal_tls_client_cert, settings.temporal_tls_client_key)
    ca, certificate, key = (None if path is None else path.read_bytes() for path in certificates)
    return Engine(
        target=settings.temporal_target,
        namespace=settings.temporal_namespace,
        identity=identity,
        tls=settings.uses_temporal_tls,
        server_name=settings.temporal_tls_server_name,
        api_key=settings.temporal_api_key.get_secret_value() if settings.temporal_api_key else None,
        ca_certificate=ca,
        client_certificate=certificate,
        client_key=key,
    )
