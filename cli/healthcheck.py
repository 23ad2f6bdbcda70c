"""The container health check: `python -m cli.healthcheck api|worker`. Exits 0 or 1 and prints why.

The API is checked over HTTP. A worker serves no port, so its heartbeat in the store is checked.
A worker process that is alive but completes no canary is therefore unhealthy.
"""

import asyncio
import socket
import sys

from cli.up.probes import answers_http, reachable_host
from config.secret_files import SettingsError
from config.settings import Settings, load_settings
from domain.errors import Unavailable


async def api_problem(settings: Settings) -> str | None:
    """Why the API on this host is unhealthy; None when it answers."""
    if await answers_http(reachable_host(settings.host), settings.port, "/livez"):
        return None
    return f"no API answers on port {settings.port}"


async def worker_problem(settings: Settings, *, host_name: str) -> str | None:
    """Why the workers on `host_name` are unhealthy; None when one is alive and polls Temporal."""
    from sqlalchemy.exc import SQLAlchemyError

    from operations.readiness import FRESH_SECONDS
    from store.db.database import Database
    from store.status.heartbeats import read_heartbeats

    database = Database.open(settings.database_url_or_default)
    try:
        async with database.reading() as session:
            heartbeats = await read_heartbeats(session, await database.now(session))
    except (Unavailable, SQLAlchemyError) as error:
        return f"the database does not answer ({type(error).__name__})"
    finally:
        await database.close()
    # The process name contains the host: a worker on another host does not count.
    on_this_host = [
        heartbeat
        for heartbeat in heartbeats
        if heartbeat.role == "worker" and f"-{host_name}-" in heartbeat.process
    ]
    alive = [heartbeat for heartbeat in on_this_host if heartbeat.age_seconds <= FRESH_SECONDS]
    if not alive:
        return "no worker on this host has written a heartbeat in the last 10 seconds"
    polling = [heartbeat for heartbeat in alive if heartbeat.report.get("pollers_alive")]
    if not polling:
        for heartbeat in alive:
            if isinstance(problem := heartbeat.report.get("temporal_problem"), dict):
                return (
                    f"no worker on this host can poll Temporal: {problem.get('detail')};"
                    f" {problem.get('fix')}"
                )
        return "no worker on this host polls Temporal"
    # None means that Temporal accepts no canary; that is no fault of the worker.
    if all(heartbeat.report.get("canary_fresh", False) is False for heartbeat in polling):
        return "no worker on this host has completed a canary in the last 60 seconds"
    return None


def main(arguments: list[str]) -> int:
    """Check the named process; returns the exit code."""
    try:
        settings = load_settings()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    match arguments:
        case ["api"]:
            problem = asyncio.run(api_problem(settings))
        case ["worker"]:
            problem = asyncio.run(worker_problem(settings, host_name=socket.gethostname()))
        case _:
            print("python -m cli.healthcheck api|worker", file=sys.stderr)
            return 2
    print(problem or "ok")
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
