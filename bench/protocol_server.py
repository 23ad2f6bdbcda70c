"""Runs an API process as in production, but for uvicorn's HTTP protocol.

    python -m bench.protocol_server bounded|httptools|h11

`bounded` is ours, `httptools` has no limit on request heads, `h11` has uvicorn's own. The settings
are those of the environment. `bench.libraries` compares their cost.
"""

import argparse
import asyncio

import uvicorn
from uvicorn.loops.auto import auto_loop_factory

from api.app import create_app
from api.composition import AppDependencies
from api.http.server_protocol import MAXIMUM_HEAD_BYTES
from api.main import app_settings, server_config
from config.logging import configure_logging
from config.settings import Settings, load_settings
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.ingest.connection import open_ingest_connection
from store.ingest.group_commit import Committer

PROTOCOLS = ("bounded", "httptools", "h11")


def configured(settings: Settings, app: object, protocol: str) -> uvicorn.Config:
    """uvicorn's configuration in production, with this protocol."""
    config = server_config(app, host=settings.host, port=settings.port)
    if protocol == "httptools":
        config.http = "httptools"
    if protocol == "h11":
        config.http = "h11"
        config.h11_max_incomplete_event_size = MAXIMUM_HEAD_BYTES
    return config


async def accept_url(url: str) -> str:
    """No repair URL is saved here."""
    return url


async def serve(settings: Settings, protocol: str) -> None:
    secret_key = settings.read_secret_key()
    database = Database.open(settings.database_url_or_default)
    parts = AppDependencies(
        database=database,
        sealer=Sealer(secret_key),
        committer=Committer(open_ingest_connection(database.url), database.clock),
        judge_repair_url=accept_url,
        settings=app_settings(settings, secret_key=secret_key),
    )
    try:
        await uvicorn.Server(configured(settings, create_app(parts), protocol)).serve()
    finally:
        await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("protocol", choices=PROTOCOLS)
    protocol = parser.parse_args().protocol
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format, role="api")
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(serve(settings, protocol))


if __name__ == "__main__":
    main()
