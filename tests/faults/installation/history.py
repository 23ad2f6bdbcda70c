"""The history of one run of the fault harness: requests, answers, mails, callbacks and faults.

The checker decides only from this. Instants are unix seconds of the harness's clock, which no fault
changes. Everything in this folder writes it; `save` and `load` store it as JSON lines. The kinds of
entries and their fields:

- `sent`: `request` (unique to this HTTP request), `endpoint` (`receipt`, `result`, `reprocess`),
  `key` (Idempotency-Key, None for a reprocess), `body` (the JSON object; for a reprocess
  `incident_id` and `event_id`), `api` (which process, from 0), `order` (the reference of what it is
  about)
- `answered`: `request`, `status`, `body` (JSON), `replayed` (whether `Idempotent-Replayed` was set)
- `unknown`: `request`, `error`: no complete answer came, so the outcome is unknown
- `fault_began`, `fault_ended`: `fault` (unique), `kind` (`kill`, `stop`, `store_away`,
  `store_read_only`, `disk_full`, `mail_hangs`, …), `target` (`worker-1`, `temporal`, `store`,
  `mail`, `endpoint`, …); ended when the target is ready again
- `signalled`: `event`, `name`: a signal was sent by Temporal's API that can cause a repair
- `other_tenant_harmed`: `what` went wrong for a tenant other than the merchant
- `mail`: `message_id`, `in_reply_to`, `subject`, `to`, `text`; recorded when the
  whole mail was read, before it is acknowledged
- `callback`: `headers` (names in lower case), `body` (the raw text), `answered` (the status, None
  without an answer)
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
    """One entry. `fields` are those of the list above, of any JSON type."""

    at: float
    kind: str
    fields: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


@dataclass(slots=True)
class History:
    """The entries in the order in which they were recorded."""

    entries: list[Entry] = field(default_factory=list)

    def note(self, kind: str, /, **fields: Any) -> None:
        """Record an entry with the current time."""
        self.entries.append(Entry(time.time(), kind, fields))

    def of(self, *kinds: str) -> list[Entry]:
        """The entries of these kinds."""
        return [entry for entry in self.entries if entry.kind in kinds]

    def save(self, path: Path) -> None:
        """Write the history into a file, as JSON lines."""
        with path.open("w") as out:
            for entry in self.entries:
                out.write(json.dumps([entry.at, entry.kind, entry.fields]) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a history that `save` wrote."""
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return cls([Entry(*line) for line in lines])
