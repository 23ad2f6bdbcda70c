"""What `makegood demo` sees: Makegood's REST and mails, asked again until what should happen was observed, or its time is over.

Every step is printed when it is observed, never before. It reads neither the store nor Temporal.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from cli.output import CommandFailed
from domain.values.text import printable

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
POLL_SECONDS = 0.1
STEP_SECONDS = 12.0

# A JSON object of REST, with values of any JSON type.
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was observed, and when, in seconds since the demo began."""

    story: str
    text: str
    at_seconds: float


@dataclass(slots=True)
class Watch:
    """The eyes of the demo; `mailbox` is None when mail goes to a server whose mails cannot be read here."""

    client: "httpx.AsyncClient"
    mailbox: Path | None
    began: float
    is_quiet: bool
    steps: list[Step] = field(default_factory=list)
    story: str = ""

    def saw(self, text: str) -> None:
        """Note and print what was observed."""
        step = Step(self.story, text, round(time.monotonic() - self.began, 2))
        self.steps.append(step)
        if not self.is_quiet:
            mark = typer.style("ok", fg=typer.colors.GREEN, bold=True)
            typer.echo(f"  {mark}  {step.at_seconds:5.1f} s  {printable(text)}")

    def begin(self, story: str) -> None:
        """A new story begins."""
        self.story = story
        if not self.is_quiet:
            typer.echo("\n" + typer.style(story, bold=True))

    async def until(self, look: Callable[[], Awaitable[T | None]], *, expected: str, seconds: float = STEP_SECONDS) -> T:
        """The first thing that the look finds.

        Raises: CommandFailed when it finds nothing in time.
        """
        deadline = time.monotonic() + seconds
        while (found := await look()) is None:
            if time.monotonic() > deadline:
                raise CommandFailed(f"the demo did not see this within {seconds:g} s ({self.story}): {expected}")
            await asyncio.sleep(POLL_SECONDS)
        return found

    async def event(self, event_id: str) -> Json:
        """The event as REST shows it now."""
        return await self._get(f"/api/v1/events/{event_id}")

    async def event_of(self, reference: str) -> str | None:
        """The id of the one event with this reference; None when there is none yet."""
        rows = (await self._get("/api/v1/events", internal_reference=reference))["data"]
        return str(rows[0]["event_id"]) if len(rows) == 1 else None

    async def event_in(self, event_id: str, state: str) -> Json | None:
        """The event if it is in this state now."""
        event = await self.event(event_id)
        return event if event["state"] == state else None

    async def post(self, path: str) -> Json:
        """The answer to a POST without a body.

        Raises: CommandFailed when it was refused.
        """
        answer = await self.client.post(path)
        if not answer.is_success:
            raise CommandFailed(f"POST {path} was answered {answer.status_code}: {printable(answer.text[:300])}")
        return dict(answer.json())

    async def subject_of_mail(self, *words: str) -> str | None:
        """The subject of a mail that holds all these words; None when none came yet."""
        from store.maintenance.mailbox import list_mails, read_mail

        if self.mailbox is None:
            return None
        for summary in list_mails(self.mailbox, limit=50):
            mail = read_mail(self.mailbox, summary.name)
            text = "" if mail is None else f"{summary.subject}\n{mail.text or ''}\n{mail.html or ''}"
            if all(word in text for word in words):
                return summary.subject
        return None

    async def _get(self, path: str, **query: str) -> Json:
        answer = await self.client.get(path, params=query)
        if not answer.is_success:
            raise CommandFailed(f"GET {path} was answered {answer.status_code}: {printable(answer.text[:300])}")
        return dict(answer.json())
