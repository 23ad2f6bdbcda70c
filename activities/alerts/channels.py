"""What every alert channel has in common: the message, the sender, and how sending fails.

`activities.alerts.delivery` sends through a channel and knows none of them. Each channel is a file
beside this one; `worker.main` lists them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from domain.ids import EventId, IncidentId

# The kind of a test alert, which the store does not have.
TRIAL_KIND = "alert_test"

FactLines = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class MailLinks:
    """The signed links of a mail. Empty: it has none."""

    unsubscribe: str = ""
    acknowledge: str = ""


NO_LINKS = MailLinks()


@dataclass(frozen=True, slots=True)
class AlertMessage:
    """An alert in words and facts, without markup. A channel decides how it looks.

    1. `incident_id`, `kind`, `subject_id` and `destination` identify it: a copy has the same ones.
       `subject_id` is the repair, or the digest of the destination, that it is about; None for
       neither.
    2. `summary` says in one line what happened to what. `facts` are names and values, each of one
       line: what people need first. `details` are further ones, such as ids. `link` is the page of
       the event.
    3. `color` is an accent as `#rrggbb`. `project` is its name and mode.
    4. If `is_plain`, nothing in it comes from outside: it has ids only, and `project` is empty.
    5. `thread` is the subject that all mails of one incident share; empty for other alerts.
       `dedup_key` is the same for all alerts that a pager shows as one. `closes`: the pager's
       alert is over with this one.
    6. `data` holds the facts for programs, as JSON values. `livemode` is None where it is unknown.
    7. `links` are for mails.
    """

    incident_id: IncidentId
    event_id: EventId
    kind: str
    subject_id: str | None
    destination: str
    at: datetime
    title: str
    summary: str
    sentence: str
    facts: FactLines
    link: str
    link_label: str
    color: str
    details: FactLines = ()
    project: str = ""
    is_plain: bool = False
    thread: str = ""
    dedup_key: str = ""
    closes: bool = False
    data: Mapping[str, object] = field(default_factory=dict)
    livemode: bool | None = None
    created_at: datetime | None = None
    links: MailLinks = NO_LINKS

    @property
    def id(self) -> str:
        """The id of the alert at this destination: each copy and each attempt has the same one."""
        parts = (self.incident_id, self.kind, self.subject_id or "", self.destination)
        digest = hashlib.sha256("\0".join(parts).encode("utf-8", errors="surrogatepass"))
        return f"alr_{digest.hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class ChannelAnswer:
    """What the other side answered. `excerpt` is the beginning of it, on one line."""

    status: int
    excerpt: str = ""


class Channel(Protocol):
    """Sends alerts of one channel."""

    async def send(self, message: AlertMessage, target: str) -> ChannelAnswer | None:
        """Send the message once, and return when the other side has accepted it.

        Returns its answer, None where the channel keeps none.

        It is cancelled after some seconds. `target` may be a secret: it is never logged and never
        part of an error.

        Raises:
            TargetRefused: the channel can never send to this target.
            AlertNotDelivered: it was not accepted, or no answer came.
        """
        ...


# By the values of `AlertChannel`. An alert of a newer version may name another.
Channels = Mapping[str, Channel]


def channel_of(channels: Channels, name: str) -> Channel:
    """The channel with this name.

    Raises:
        AlertNotDelivered: only a newer version has it, and may send the alert later.
    """
    channel = channels.get(name)
    if channel is None:
        raise AlertNotDelivered("unknown channel")
    return channel


class TargetRefused(Exception):
    """The target has a form to which the channel never sends."""


class AlertNotDelivered(Exception):
    """The other side did not accept the alert. The text names the kind of failure and no target.

    `is_permanent`: it will never accept it. `is_content_refused`: it accepts the target but not the
    contents, or they cannot be written; the plain message may be accepted. `is_silent`: it did not
    answer in time. `retry_after_seconds` is how long it asked to wait. `answer` is what it said.
    """

    def __init__(
        self,
        failure: str,
        *,
        is_permanent: bool = False,
        is_content_refused: bool = False,
        is_silent: bool = False,
        retry_after_seconds: int | None = None,
        answer: ChannelAnswer | None = None,
    ) -> None:
        super().__init__(failure)
        self.retry_after_seconds = retry_after_seconds
        self.answer = answer
        self.is_permanent = is_permanent
        self.is_content_refused = is_content_refused
        self.is_silent = is_silent
