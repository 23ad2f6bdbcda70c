"""Ends a process whose event loop stands still: it would hold its connections and answer nobody, and cannot end itself.

A thread looks every few seconds whether the loop has run since; after twelve looks in a row without it says where the loop stands
and ends the process with 1, to be started again by whoever runs it. It counts looks, not time: a process that was stopped for an
hour and goes on has missed none. What stops this thread too (SIGSTOP) is seen by `makegood up` from outside. Handed to API
and worker by `cli.commands.services`.
"""

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

LOOK_SECONDS = 5.0
MOST_LOOKS = 12
# A loop that stands in a write to a full pipe holds the log, so that the log is not waited for.
SAY_SECONDS = 2.0

log = structlog.get_logger(__name__)


@contextmanager
def watched_loop(
    *, look_seconds: float = LOOK_SECONDS, most_looks: int = MOST_LOOKS, end: Callable[[int], object] = os._exit
) -> Iterator[None]:
    """Watch the running loop while the block runs; call it on the loop's thread. `end` is given the exit code."""
    loop, watched, over = asyncio.get_running_loop(), threading.get_ident(), threading.Event()
    has_run = threading.Event()

    def look() -> None:
        missed = 0
        while not over.wait(look_seconds):
            missed = 0 if has_run.is_set() else missed + 1
            has_run.clear()
            if missed >= most_looks:
                _say(watched, looks=missed, seconds=missed * look_seconds)
                end(1)
                return
            loop.call_soon_threadsafe(has_run.set)

    has_run.set()
    thread = threading.Thread(target=look, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _say(watched: int, *, looks: int, seconds: float) -> None:
    frame = sys._current_frames().get(watched)
    stack = [] if frame is None else [f"{at.filename}:{at.lineno} {at.name}" for at in traceback.extract_stack(frame)[-8:]]
    fields = {"looks": looks, "seconds": seconds, "stack": stack}
    saying = threading.Thread(target=log.critical, args=("event_loop_stands",), kwargs=fields, daemon=True)
    saying.start()
    saying.join(SAY_SECONDS)
