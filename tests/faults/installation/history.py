"""The history of one run of the fault harness: what was sent, answered, mailed, called back, broken
and repaired, and when.

The checker decides from this alone. Instants are unix seconds of the host's clock, which no fault
touches in the harness itself. Written by everything in this folder; `save` and `load` keep it as
JSON lines. The kinds of entries and their fields:

- `sent`: `request` (unique to this HTTP request), `endpoint` (`receipt`, `result`, `reprocess`),
  `key` (Idempotency-Key, None for a reprocess), `body` (the JSON object; for a reprocess
  `incident_id` and `event_id`), `api` (which process, from 0), `order` (the reference of what it is
  about)
- `answered`: `request`, `status`, `body` (JSON), `replayed` (whether `Idempotent-Replayed` was set)
- `unknown`: `request`, `error`: no whole answer came, so that nobody knows what became of it
- `fault_began`, `fault_ended`: `fault` (unique), `kind` (`kill`, `stop`, `store_away`,
  `store_read_only`, `disk_full`, `mail_hangs`, …), `target` (`worker-1`, `temporal`, `store`,
  `mail`, `endpoint`, …); ended when what it hit is at work again
- `signalled`: `event`, `name`: somebody typed a signal into Temporal that may act
- `other_tenant_harmed`: `what` went wrong for a tenant other than the merchant
- `mail`: `message_id`, `in_reply_to`, `subject`, `to`, `text`; noted when the whole mail was read,
  before it is acknowledged
- `callback`: `headers` (names in lower case), `body` (the raw text), `answered` (the status, None
  when it was reset or left)
- `observed`: `event`: an event as REST shows it at the end, timeline and repairs included
- `settled`: `seconds` until nothing was left to do, `outbox` (rows left), `stuck` (ids of workflows
  whose task does not end)
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened; `fields` are as the table above has them, of any JSON type."""

    at: float
    kind: str
    fields: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


@dataclass(slots=True)
class History:
    """What happened, in the order in which it was noted."""

    entries: list[Entry] = field(default_factory=list)

    def note(self, kind: str, /, **fields: Any) -> None:
        """It happens now."""
        self.entries.append(Entry(time.time(), kind, fields))

    def of(self, *kinds: str) -> list[Entry]:
        """The entries of these kinds."""
        return [entry for entry in self.entries if entry.kind in kinds]

    def save(self, path: Path) -> None:
        """Write it as JSON lines."""
        with path.open("w") as out:
            for entry in self.entries:
                out.write(json.dumps([entry.at, entry.kind, entry.fields]) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """A history that was saved."""
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return cls([Entry(*line) for line in lines])
