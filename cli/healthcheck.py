"""Whether the API or the worker in this container is well: `python -m cli.healthcheck api|worker`, for container engines.

It ends with 0 or 1 and says why in a line. The API is asked over HTTP; a worker, which serves nothing, is judged by its heartbeat
in the store, so that one through which no canary comes back is not well although its process lives.
"""

import asyncio
import socket
import sys

from cli.up.probes import answers_http
from cli.up.run import reachable_host
from config.secret_files import SettingsError
from config.settings import Settings, load_settings

FRESH_SECONDS = 10.0


async def api_problem(settings: Settings) -> str | None:
    """What is wrong with the API on this host; None when it answers."""
    if await answers_http(reachable_host(settings.host), settings.port, "/livez"):
        return None
    return f"no API answers on port {settings.port}"


async def worker_problem(settings: Settings, *, host_name: str) -> str | None:
    """What is wrong with the workers that run on `host_name`; None when one is alive and works for Temporal."""
    from sqlalchemy.exc import SQLAlchemyError

    from domain.errors import Unavailable
    from store.db.database import Database
    from store.status.heartbeats import read_beats

    database = Database.open(settings.database_url_or_default)
    try:
        async with database.reading() as session:
            beats = await read_beats(session, await database.now(session))
    except (Unavailable, SQLAlchemyError) as error:
        return f"the store does not answer ({type(error).__name__})"
    finally:
        await database.close()
    # Its process names itself by host, so that one of two workers cannot vouch for the other.
    ours = [beat for beat in beats if beat.role == "worker" and f"-{host_name}-" in beat.process]
    alive = [beat for beat in ours if beat.age_seconds <= FRESH_SECONDS]
    if not alive:
        return "no worker on this host has been alive in the last 10 seconds"
    polling = [beat for beat in alive if beat.report.get("pollers_alive")]
    if not polling:
        for beat in alive:
            if isinstance(problem := beat.report.get("temporal_problem"), dict):
                return f"no worker on this host works for Temporal: {problem.get('detail')}; {problem.get('fix')}"
        return "no worker on this host takes work from Temporal"
    # None: Temporal takes no canary from it, which says nothing of the worker.
    if all(beat.report.get("canary_fresh", False) is False for beat in polling):
        return "no worker on this host has finished a canary in the last 60 seconds"
    return None


def main(arguments: list[str]) -> int:
    """Ask about the part named; the exit code."""
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
