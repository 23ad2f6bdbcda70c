"""Whether a child of `makegood up` that was ready still works, asked every few seconds, and only for what a new start would mend.

A part that waits for another one, for the engine or the store, is red in `/readyz` and is left alone here. Each question answers
with what is wrong, or None, and raises nothing. Called by the supervisor.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.up.child import Watch
from cli.up.probes import answers_http, greets_by_smtp, speaks_http2

if TYPE_CHECKING:
    from store.status.heartbeats import Beat


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a child may be red before it is killed; `silent_seconds`: a worker without a heartbeat for so long is red."""

    look_seconds: float = 5.0
    red_seconds: float = 30.0
    silent_seconds: float = 10.0


USUAL = Patience()


def watch_api(host: str, port: int, patience: Patience) -> Watch:
    """Red while `/livez`, which asks nobody else, goes unanswered."""
    return _watch_answer(lambda: answers_http(host, port, "/livez"), "/livez is not answered", patience)


def watch_temporal(host: str, port: int, patience: Patience) -> Watch:
    """Red while its frontend does not shake hands."""
    return _watch_answer(lambda: speaks_http2(host, port), f"port {port} is not answered", patience)


def watch_mailbox(host: str, port: int, patience: Patience) -> Watch:
    """Red while it does not greet."""
    return _watch_answer(lambda: greets_by_smtp(host, port), f"port {port} is not answered", patience)


def watch_worker(database_url: str, patience: Patience) -> Watch:
    """Red while its heartbeat is silent. One that beats and does no work ends by itself: see `worker.health.heartbeat`."""

    async def problem(group: int) -> str | None:
        from sqlalchemy.exc import SQLAlchemyError

        from domain.errors import Unavailable
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
        return judge_worker(beats, group, silent_seconds=patience.silent_seconds)

    return _watch(problem, patience)


def judge_worker(beats: "Sequence[Beat]", group: int, *, silent_seconds: float) -> str | None:
    """What the last heartbeat of the worker in this process group says of it.

    None too when it never wrote one: a store that takes no writes is not mended by another worker.
    """
    ours = next((beat for beat in beats if beat.role == "worker" and _is_in_group(beat.process, group)), None)
    return "no heartbeat" if ours is not None and ours.age_seconds > silent_seconds else None


def _is_in_group(name: str, group: int) -> bool:
    """Whether a worker that names itself `worker-HOST-PID-…` is of this host and process group."""
    if not name.startswith(f"worker-{socket.gethostname()}-"):
        return False
    try:
        return os.getpgid(int(name.rsplit("-", 2)[1])) == group
    except (ValueError, ProcessLookupError, PermissionError):
        return False


def _watch_answer(answers: Callable[[], Awaitable[bool]], told: str, patience: Patience) -> Watch:
    async def problem(_: int) -> str | None:
        return None if await answers() else told

    return _watch(problem, patience)


def _watch(problem: Callable[[int], Awaitable[str | None]], patience: Patience) -> Watch:
    return Watch(problem=problem, look_seconds=patience.look_seconds, red_seconds=patience.red_seconds)
