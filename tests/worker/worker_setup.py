"""Sets up a worker process for a test: its store, its Temporal server and its environment."""

from pathlib import Path

from store.db.database import Database
from store.status.heartbeats import Heartbeat, read_heartbeats
from tests.conftest import SECRET_KEY
from tests.support.processes import free_ports
from tests.support.temporal import TEMPORAL
from tests.support.waiting import wait_until_async

# `makegood worker` with short health thresholds.
IMPATIENT_WORKER = (
    "import contextlib, sys\n"
    "from config.settings import load_settings\n"
    "from worker.health.thresholds import HealthThresholds\n"
    "from worker.main import run_worker\n"
    "thresholds = HealthThresholds(\n"
    "    check_seconds=0.5, silent_seconds=90, canary_every_seconds=0.5,\n"
    "    canary_timeout_seconds=1.5, canary_fresh_seconds=3, timed_out_without_polls=4)\n"
    "watched_loop = contextlib.nullcontext\n"
    "sys.exit(run_worker(load_settings(), watched_loop=watched_loop, thresholds=thresholds))\n"
)
HEALTHY = {"temporal_reachable": True, "pollers_alive": True, "canary_fresh": True}


class WorkerSetup:
    """A store, and the environment of its worker processes."""

    def __init__(
        self, database_url: str, directory: Path, *, port: int | None = None, **settings: str
    ) -> None:
        """`port`: of a shared Temporal server.

        `settings`: further environment variables, or replacements.
        """
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

    def temporal_command(self) -> tuple[str, ...]:
        """The command of a dev server with its data in a file, so that it can be restarted."""
        file = str(self.directory / "temporal.db")
        return (
            str(TEMPORAL),
            "server",
            "start-dev",
            "--headless",
            "--port",
            str(self.port),
            "--db-filename",
            file,
        )

    async def wait_for_report(self, **report: object) -> Heartbeat:
        """Wait for a worker heartbeat with these values, and return it."""

        async def matching() -> list[Heartbeat]:
            async with self.database.reading() as session:
                heartbeats = await read_heartbeats(session, await self.database.now(session))
            return [
                heartbeat for heartbeat in heartbeats if report.items() <= heartbeat.report.items()
            ]

        return (
            await wait_until_async(matching, seconds=25, what=f"a worker that reports {report}")
        )[0]

    async def wait_for_problem(self, kind: str) -> Heartbeat:
        """Wait for the heartbeat of a worker that reports this problem, and return it."""

        async def matching() -> list[Heartbeat]:
            async with self.database.reading() as session:
                heartbeats = await read_heartbeats(session, await self.database.now(session))
            return [
                heartbeat for heartbeat in heartbeats if problem_of(heartbeat).get("kind") == kind
            ]

        return (await wait_until_async(matching, seconds=25, what=f"a worker that reports {kind}"))[
            0
        ]

    async def is_heartbeat_older_than(self, seconds: float) -> bool:
        """Whether the last heartbeat is older than this."""
        async with self.database.reading() as session:
            return (await read_heartbeats(session, await self.database.now(session)))[
                0
            ].age_seconds > seconds


def problem_of(heartbeat: Heartbeat) -> dict[str, str]:
    """The problem with Temporal that the worker reports; empty for none."""
    problem = heartbeat.report.get("temporal_problem", {})
    assert isinstance(problem, dict)
    return problem
