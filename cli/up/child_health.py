"""The liveness checks of the children of `makegood up`: only problems that a restart would fix.

A child that waits for Temporal or the database is not ready in `/readyz`, but it is not restarted.
Each check returns a problem or None and never raises. The supervisor calls them.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cli.up.child import LivenessCheck
from cli.up.probes import answers_http, greets_by_smtp, speaks_http2
from domain.errors import Unavailable

if TYPE_CHECKING:
    from store.status.heartbeats import Beat


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessLimits:
    """How often a child is checked, and how long it may fail before it is killed.

    `silent_seconds`: the maximum age of a worker's heartbeat.
    """

    interval_seconds: float = 5.0
    failing_seconds: float = 30.0
    silent_seconds: float = 10.0


DEFAULT_LIMITS = LivenessLimits()
# A hung API refuses receipts. With the probe's own timeout it is killed within 15 s.
API_INTERVAL_SECONDS = 3.0
API_FAILING_SECONDS = 9.0


def api_liveness(host: str, port: int, limits: LivenessLimits) -> LivenessCheck:
    """Fails while `/livez` is not answered. `/livez` depends on no other service."""
    limits = replace(
        limits,
        interval_seconds=min(limits.interval_seconds, API_INTERVAL_SECONDS),
        failing_seconds=min(limits.failing_seconds, API_FAILING_SECONDS),
    )
    return _answer_check(
        lambda: answers_http(host, port, "/livez"), "/livez is not answered", limits
    )


def temporal_liveness(host: str, port: int, limits: LivenessLimits) -> LivenessCheck:
    """Fails while the frontend does not complete an HTTP/2 handshake."""
    return _answer_check(lambda: speaks_http2(host, port), f"port {port} is not answered", limits)


def mailbox_liveness(host: str, port: int, limits: LivenessLimits) -> LivenessCheck:
    """Fails while the SMTP server sends no greeting."""
    return _answer_check(lambda: greets_by_smtp(host, port), f"port {port} is not answered", limits)


def worker_liveness(database_url: str, limits: LivenessLimits) -> LivenessCheck:
    """Fails while the heartbeat is old. A worker that does no work exits by itself: see
    `worker.health.heartbeat`.
    """

    async def problem(group: int) -> str | None:
        from sqlalchemy.exc import SQLAlchemyError

        from store.db.database import Database
        from store.status.heartbeats import read_beats

        database = Database.open(database_url)
        try:
            async with database.reading() as session:
                beats = await read_beats(session, await database.now(session))
        except (Unavailable, SQLAlchemyError, OSError):
            return None
        finally:
            await database.close()
        return judge_worker(beats, group, silent_seconds=limits.silent_seconds)

    return _check(problem, limits)


def judge_worker(beats: "Sequence[Beat]", group: int, *, silent_seconds: float) -> str | None:
    """The problem of the worker in this process group, judged by its last heartbeat.

    None also when it never wrote one: restarting the worker would not fix a database that accepts
    no writes.
    """
    own = next(
        (beat for beat in beats if beat.role == "worker" and _is_in_group(beat.process, group)),
        None,
    )
    return "no heartbeat" if own is not None and own.age_seconds > silent_seconds else None


def _is_in_group(name: str, group: int) -> bool:
    """Whether the process name `worker-HOST-PID-…` belongs to this host and process group."""
    if not name.startswith(f"worker-{socket.gethostname()}-"):
        return False
    try:
        return os.getpgid(int(name.rsplit("-", 2)[1])) == group
    except (ValueError, ProcessLookupError, PermissionError):
        return False


def _answer_check(
    answers: Callable[[], Awaitable[bool]], message: str, limits: LivenessLimits
) -> LivenessCheck:
    async def problem(_: int) -> str | None:
        return None if await answers() else message

    return _check(problem, limits)


def _check(
    problem: Callable[[int], Awaitable[str | None]], limits: LivenessLimits
) -> LivenessCheck:
    return LivenessCheck(
        problem=problem,
        interval_seconds=limits.interval_seconds,
        failing_seconds=limits.failing_seconds,
    )
