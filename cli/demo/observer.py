"""Observes a Makegood instance for `makegood demo`: polls REST and the mailbox until the expected
step.

A step is printed only after it was observed. It reads neither the store nor Temporal.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import typer

from cli.output import CommandFailed
from domain.values.text import printable
from store.maintenance.mailbox import list_mails, read_mail

T = TypeVar("T")
POLL_SECONDS = 0.1
STEP_SECONDS = 12.0

# A JSON object of REST; values are of any JSON type.
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """An observed step; `at_seconds` counts from the start of the demo."""

    story: str
    text: str
    at_seconds: float


@dataclass(slots=True)
class Observer:
    """Polls for steps and records them; `mailbox` is None when mail goes to an external server."""

    client: httpx.AsyncClient
    mailbox: Path | None
    began: float
    is_quiet: bool
    steps: list[Step] = field(default_factory=list)
    story: str = ""

    def record_step(self, text: str) -> None:
        """Record and print an observed step."""
        step = Step(self.story, text, round(time.monotonic() - self.began, 2))
        self.steps.append(step)
        if not self.is_quiet:
            mark = typer.style("ok", fg=typer.colors.GREEN, bold=True)
            typer.echo(f"  {mark}  {step.at_seconds:5.1f} s  {printable(text)}")

    def begin_story(self, story: str) -> None:
        """Begin a new story and print its title."""
        self.story = story
        if not self.is_quiet:
            typer.echo("\n" + typer.style(story, bold=True))

    async def wait_for(
        self,
        poll: Callable[[], Awaitable[T | None]],
        *,
        expected: str,
        seconds: float = STEP_SECONDS,
    ) -> T:
        """Poll until the result is not None.

        Raises: CommandFailed when it stays None for `seconds`.
        """
        deadline = time.monotonic() + seconds
        while (found := await poll()) is None:
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"the demo did not observe this within {seconds:g} s ({self.story}): {expected}"
                )
            await asyncio.sleep(POLL_SECONDS)
        return found

    async def event(self, event_id: str) -> Json:
        """The event as REST returns it now."""
        return await self._get(f"/api/v1/events/{event_id}")

    async def event_of(self, reference: str) -> str | None:
        """The id of the only event with this reference; None while there is none."""
        rows = (await self._get("/api/v1/events", internal_reference=reference))["data"]
        return str(rows[0]["event_id"]) if len(rows) == 1 else None

    async def event_in(self, event_id: str, state: str) -> Json | None:
        """The event, if it is in this state now; else None."""
        event = await self.event(event_id)
        return event if event["state"] == state else None

    async def post(self, path: str, content: Json | None = None) -> Json:
        """POST, without a body for None; returns the response.

        Raises: CommandFailed when it was refused.
        """
        answer = await self.client.post(path, json=content)
        if not answer.is_success:
            raise CommandFailed(
                f"POST {path} was answered {answer.status_code}: {printable(answer.text[:300])}"
            )
        return dict(answer.json())

    async def subject_of_mail(self, *words: str) -> str | None:
        """The subject of a mail that contains all these words; None while there is none."""
        if self.mailbox is None:
            return None
        for summary in list_mails(self.mailbox, limit=50):
            mail = read_mail(self.mailbox, summary.name)
            text = (
                "" if mail is None else f"{summary.subject}\n{mail.text or ''}\n{mail.html or ''}"
            )
            if all(word in text for word in words):
                return summary.subject
        return None

    async def _get(self, path: str, **query: str) -> Json:
        answer = await self.client.get(path, params=query)
        if not answer.is_success:
            raise CommandFailed(
                f"GET {path} was answered {answer.status_code}: {printable(answer.text[:300])}"
            )
        return dict(answer.json())
