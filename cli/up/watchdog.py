"""A watchdog that ends a process whose event loop is blocked: it could neither answer nor exit by
itself.

A thread checks every few seconds that the loop has run since the last check. After twelve failed
checks in a row it logs the blocked stack and exits with 1; the supervisor or orchestrator restarts
the process. It counts checks, not time: a process that was stopped for an hour has missed none.
`makegood up` detects from outside what also stops this thread (SIGSTOP). `cli.commands.services`
passes it to the API and the worker.
"""

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

CHECK_SECONDS = 5.0
MAX_MISSED_CHECKS = 12
# A loop that is blocked in a write to a full pipe also blocks the log: wait for the log only this
# long.
LOG_SECONDS = 2.0

log = structlog.get_logger(__name__)


@contextmanager
def watched_loop(
    *,
    check_seconds: float = CHECK_SECONDS,
    max_missed: int = MAX_MISSED_CHECKS,
    end: Callable[[int], object] = os._exit,
) -> Iterator[None]:
    """Watch the running loop during the block; call it on the loop's thread. `end` gets the exit
    code.
    """
    loop, watched, over = asyncio.get_running_loop(), threading.get_ident(), threading.Event()
    has_run = threading.Event()

    def check() -> None:
        missed = 0
        while not over.wait(check_seconds):
            missed = 0 if has_run.is_set() else missed + 1
            has_run.clear()
            if missed >= max_missed:
                _log_blocked(watched, checks=missed, seconds=missed * check_seconds)
                end(1)
                return
            loop.call_soon_threadsafe(has_run.set)

    has_run.set()
    thread = threading.Thread(target=check, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _log_blocked(watched: int, *, checks: int, seconds: float) -> None:
    frame = sys._current_frames().get(watched)
    stack = (
        []
        if frame is None
        else [f"{at.filename}:{at.lineno} {at.name}" for at in traceback.extract_stack(frame)[-8:]]
    )
    fields = {"checks": checks, "seconds": seconds, "stack": stack}
    logging_thread = threading.Thread(
        target=log.critical, args=("event_loop_blocked",), kwargs=fields, daemon=True
    )
    logging_thread.start()
    logging_thread.join(LOG_SECONDS)
