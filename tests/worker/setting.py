"""A store, the Temporal beside it, and the environment in which a worker process of it is started."""

import sys
from pathlib import Path

from store.db.database import Database
from store.status.heartbeats import Beat, read_beats
from tests.conftest import SECRET_KEY
from tests.support.processes import free_ports
from tests.support.waiting import wait_until_async

TEMPORAL = Path(sys.executable).parent / "temporal"
# `makegood worker` with bounds that a test can wait for.
IMPATIENT = (
    "import contextlib, sys\n"
    "from config.settings import load_settings\n"
    "from worker.health.heartbeat import Bounds\n"
    "from worker.main import run_worker\n"
    "bounds = Bounds(look_seconds=0.5, silent_seconds=90, canary_every_seconds=0.5, canary_patience_seconds=1.5,\n"
    "                canary_fresh_seconds=3, canaries_lost_unheard=4)\n"
    "sys.exit(run_worker(load_settings(), watched_loop=contextlib.nullcontext, bounds=bounds))\n"
)
WELL = {"engine_reachable": True, "pollers_alive": True, "canary_fresh": True}


class Setting:
    """A store, and the addresses that a worker is started with."""

    def __init__(self, database_url: str, directory: Path, *, port: int | None = None, **settings: str) -> None:
        """`port`: of a Temporal that others use too; `settings`: further variables, or others in place of these."""
        self.port = port or free_ports(1)[0]
        self.directory = directory
        self.database = Database.open(database_url)
        self.environment = {
            "MAKEGOOD_DATABASE_URL": database_url,
            "MAKEGOOD_DATA_DIR": str(directory),
            "MAKEGOOD_SECRET_KEY": SECRET_KEY,
            "MAKEGOOD_SMTP_URL": "smtp://127.0.0.1:1",
            "MAKEGOOD_LOG_FORMAT": "json",
            "MAKEGOOD_RECONCILE_SECONDS": "1",
            "TEMPORAL_ADDRESS": f"127.0.0.1:{self.port}",
            **settings,
        }

    def engine(self) -> tuple[str, ...]:
        """The command of a dev server on a file, so that it can go and come back."""
        file = str(self.directory / "temporal.db")
        return (str(TEMPORAL), "server", "start-dev", "--headless", "--port", str(self.port), "--db-filename", file)

    async def says(self, **report: object) -> Beat:
        """The worker's heartbeat, once it says that."""

        async def told() -> list[Beat]:
            async with self.database.reading() as session:
                beats = await read_beats(session, await self.database.now(session))
            return [beat for beat in beats if report.items() <= beat.report.items()]

        return (await wait_until_async(told, seconds=25, what=f"a worker that says {report}"))[0]

    async def refuses(self, kind: str) -> Beat:
        """The heartbeat of a worker that does no work for Temporal, for that reason."""

        async def told() -> list[Beat]:
            async with self.database.reading() as session:
                beats = await read_beats(session, await self.database.now(session))
            return [beat for beat in beats if problem_of(beat).get("kind") == kind]

        return (await wait_until_async(told, seconds=25, what=f"a worker that says {kind}"))[0]

    async def is_silent(self, seconds: float) -> bool:
        """Whether the last beat is so old."""
        async with self.database.reading() as session:
            return (await read_beats(session, await self.database.now(session)))[0].age_seconds > seconds


def problem_of(beat: Beat) -> dict[str, str]:
    """What the worker says is wrong with its Temporal; empty when nothing is."""
    problem = beat.report.get("temporal_problem", {})
    assert isinstance(problem, dict)
    return problem
