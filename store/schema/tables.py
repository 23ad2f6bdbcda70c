"""The tables, as SQLModel classes; nothing else. Rows never leave `store`.

Instants are kept as whole milliseconds since 1970 UTC, the same on SQLite and PostgreSQL. Ids are
the wire's own text. Raw SQL of the committer uses these column names; `migrations/` creates them.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlmodel import Field, SQLModel

from domain.temporal.outbox import URGENT_KINDS
from domain.values.timestamps import from_unix_ms, to_unix_ms
from store.schema.audit_triggers import make_append_only
from store.schema.search_ddl import index_with_trigrams


class Instant(TypeDecorator[datetime]):
    """An aware datetime, stored as milliseconds since 1970 UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_unix_ms(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_unix_ms(value)


# Any: SQLModel's Field is typed so
def _instant(*, nullable: bool = False, index: bool = False) -> Any:
    return Field(default=None, sa_column=Column(Instant(), nullable=nullable, index=index))


def _text(
    *, nullable: bool = False, unique: bool = False, index: bool = False, primary_key: bool = False
) -> Any:
    return Field(
        default=None,
        sa_column=Column(
            Text, nullable=nullable, unique=unique, index=index, primary_key=primary_key
        ),
    )


def _added_text() -> Any:
    """A column that was added later: earlier rows, and those of an earlier version, have ''."""
    return Field(default="", sa_column=Column(Text, nullable=False, server_default=""))


def _amount() -> Any:
    return Field(default=None, sa_column=Column(BigInteger, nullable=True))


def _partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(
        name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where)
    )


def _sequence() -> Any:
    # INTEGER on SQLite, because only that type name gets an automatic number.
    return Field(
        default=None,
        sa_column=Column(
            BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True
        ),
    )


def _number() -> Any:
    return Field(
        sa_column=Column(
            BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False
        ),
    )


def _instant_key() -> Any:
    return Field(sa_column=Column(Instant(), primary_key=True, autoincrement=False))


def _count() -> Any:
    return Field(default=0, sa_column=Column(BigInteger, nullable=False))


# Queries must repeat these conditions literally. Otherwise SQLite and PostgreSQL do not use the
# partial indexes.
ALERT_IS_FRESH = "sent_at IS NULL AND ended_at IS NULL AND tries = 0"
ALERT_IS_RETRIED = "sent_at IS NULL AND ended_at IS NULL AND tries > 0"
RECEIPT_IS_UNDECIDED = "state IN ('expected', 'waiting')"
RECEIPT_IS_UNENDED = "state IN ('expected', 'waiting', 'incident')"
# A provider that a project added. Only such rows are in the indexes.
OWN_PROVIDER = "provider NOT IN ('stripe', 'shopify')"
INCIDENT_IS_AT_RISK = "state <> 'resolved' AND amount IS NOT NULL"
SOURCE_IS_TO_SCHEDULE = "scheduled_version < version"
SOURCE_IS_NOT_SCHEDULED = "schedule_retry_at IS NOT NULL"
SOURCE_IS_REMOVED = "deleted_at IS NOT NULL"
REPAIR_IS_ACTIVE = "state IN ('held', 'calling', 'awaiting_result')"
REPAIR_IS_HELD = "state = 'held'"
HOLD_IS_ACTIVE = "ended_at IS NULL"
HOLD_IS_RELEASING = "ended_at IS NOT NULL AND released_at IS NULL"
BULK_IS_TO_DELIVER = "delivered_version < version"
BULK_IS_UNDONE = "done_at IS NULL"
RULE_REPAIR_IS_OPEN = "outcome IS NULL"
SOURCE_IS_UNWELL = "problem IS NOT NULL OR silent_since IS NOT NULL"
DESTINATION_IS_FAILING = "failing_since IS NOT NULL AND disabled_at IS NULL"
INCIDENT_IS_UNRESOLVED = "state <> 'resolved'"
INCIDENT_IS_UNGROUPED = "group_id IS NULL AND state <> 'resolved'"
GROUP_TAKES_MORE = "takes_more"
GROUP_HAS_MUTE = "muted_until IS NOT NULL"
INCIDENT_IS_REPAIRED = "resolution <> 'manual'"
ACKNOWLEDGEMENT_ENDS = "acknowledged_until IS NOT NULL"
SNOOZE_ENDS = "snoozed_until IS NOT NULL"
RECEIPT_IS_FLAGGED = "flags <> ''"
INCIDENT_HAS_CUSTOMER = "customer_reference IS NOT NULL"
INCIDENT_IS_ACKNOWLEDGED = "acknowledged_at IS NOT NULL AND state <> 'resolved'"
INCIDENT_HAS_ASSIGNEE = "assignee IS NOT NULL"
RECEIPT_HAS_ENDED = "ended_at IS NOT NULL"
PROJECT_IS_SILENT = "silent_since IS NOT NULL"


def _newest_outage() -> Any:
    """The newest outage that was credited to the row's deadline, so that none is credited twice."""
    return Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default=text("0")))


class Project(SQLModel, table=True):
    __tablename__: ClassVar[str] = "projects"
    __table_args__ = (
        _partial_index("projects_left", "id", where="deleted_at IS NOT NULL AND erased_at IS NULL"),
    )

    id: str = _text(primary_key=True)
    name: str = _text(unique=True)
    mode: str = _text()  # test | live
    repair_url: str | None = _text(nullable=True)
    repair_url_gone: bool = Field(default=False)
    timeout_minutes: float = Field(default=30.0)
    late_result: str = _text()  # resolve | note
    snapshots: bool = Field(default=False)
    # sealed by the master key
    data_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = _instant()
    suspended_at: datetime | None = _instant(nullable=True)
    # from then on it is nobody's: its rows are erased
    deleted_at: datetime | None = _instant(nullable=True)
    erased_at: datetime | None = _instant(nullable=True)  # deleted, and nothing of it was left then
    early_results: str = Field(
        default="refuse", sa_column=Column(Text, nullable=False, server_default="refuse")
    )  # refuse | hold
    # Names that the project adds to the contract's sets, space-separated; `-` before removed ones.
    providers: str = _added_text()
    event_types: str = _added_text()
    effect_types: str = _added_text()
    acknowledge_minutes: int = Field(
        default=240, sa_column=Column(Integer, nullable=False, server_default="240")
    )
    group_window_minutes: float = Field(
        default=60.0, sa_column=Column(Float, nullable=False, server_default="60")
    )
    alert_window_minutes: float = Field(
        default=5.0, sa_column=Column(Float, nullable=False, server_default="5")
    )
    silent_after_minutes: int | None = Field(default=None)  # 0: never; None: learned
    # JSON object: the same of event types that are watched apart
    silent_event_types: str = _added_text()
    resumed_at: datetime | None = _instant(nullable=True)  # silence counts from then on


class ApiKey(SQLModel, table=True):
    __tablename__: ClassVar[str] = "api_keys"

    id: str = _text(primary_key=True)
    project_id: str = _text(index=True)
    label: str = _text()
    digest: str = _text(unique=True)  # keyed HMAC of the key, hex
    hint: str = _text()  # prefix and last four characters, for people
    scopes: str = _text()  # space-separated
    created_at: datetime = _instant()
    expires_at: datetime | None = _instant(nullable=True)
    revoked_at: datetime | None = _instant(nullable=True)
    last_used_at: datetime | None = _instant(nullable=True)
    # The fingerprint of the root secret whose pepper digested it; None: that of the first, before
    # fingerprints were kept.
    digested_with: str | None = _text(nullable=True)


class SigningSecret(SQLModel, table=True):
    __tablename__: ClassVar[str] = "signing_secrets"

    id: str = _text(primary_key=True)
    project_id: str = _text(index=True)
    role: str = _text()  # current | next | retired
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = _instant()


class Receipt(SQLModel, table=True):
    __tablename__: ClassVar[str] = "receipts"
    __table_args__ = (
        UniqueConstraint(
            "project_id", "provider", "provider_event_id", "effect_type", name="receipts_identity"
        ),
        Index("receipts_by_time", "project_id", "accepted_at", "event_id"),
        Index(
            "receipts_by_state",
            "project_id",
            "state",
            "event_type",
            "effect_type",
            "accepted_at",
            "event_id",
        ),
        _partial_index("receipts_due", "deadline_at", where=RECEIPT_IS_UNDECIDED),
        _partial_index(
            "receipts_overdue", "project_id", "deadline_at", "event_id", where=RECEIPT_IS_UNDECIDED
        ),
        _partial_index("receipts_unended", "event_id", where=RECEIPT_IS_UNENDED),
        Index(
            "receipts_by_reference", "project_id", "internal_reference", "accepted_at", "event_id"
        ),
        _partial_index(
            "receipts_by_own_provider", "project_id", "provider", "event_type", where=OWN_PROVIDER
        ),
        _partial_index(
            "receipts_of_own_providers", "project_id", "provider_event_id", where=OWN_PROVIDER
        ),
        _partial_index(
            "receipts_flagged", "project_id", "accepted_at", "event_id", where=RECEIPT_IS_FLAGGED
        ),
        _partial_index("receipts_with_payload", "accepted_at", where="payload IS NOT NULL"),
        _partial_index(
            "receipts_ended", "project_id", "ended_at", "event_id", where=RECEIPT_HAS_ENDED
        ),
    )

    event_id: str = _text(primary_key=True)
    project_id: str = _text()
    livemode: bool = Field(default=False)
    state: str = _text()
    provider: str = _text()
    provider_event_id: str = _text()
    stripe_event_id: str | None = _text(nullable=True)
    event_type: str = _text()
    effect_type: str = _text()
    internal_reference: str = _text()
    shopify_shop_domain: str | None = _text(nullable=True)
    occurred_at: datetime = _instant()
    # The place in lists: of the receipt or, while `lacks_receipt`, of the expected event.
    accepted_at: datetime = _instant()
    timeout_at: datetime = _instant()
    deadline_at: datetime = _instant()
    ended_at: datetime | None = _instant(nullable=True)
    flags: str = _text()  # space-separated
    request_id: str = _text()
    # sealed JSON text
    payload: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    credited_outage: int = _newest_outage()
    expected_at: datetime | None = _instant(nullable=True)  # a source made the row
    # a source made the row, and no receipt has come
    lacks_receipt: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default=false())
    )
    source_id: str | None = _text(nullable=True)  # the first source that saw the event
    amount: int | None = _amount()  # in the minor unit of `currency`
    currency: str | None = _text(nullable=True)
    customer_reference: str | None = _text(nullable=True)


class Incident(SQLModel, table=True):
    __tablename__: ClassVar[str] = "incidents"
    __table_args__ = (
        Index("incidents_by_time", "project_id", "opened_at", "id"),
        Index(
            "incidents_by_state",
            "project_id",
            "state",
            "event_type",
            "effect_type",
            "opened_at",
            "id",
        ),
        Index("incidents_by_opening", "project_id", "state", "opened_at", "id"),
        Index("incidents_by_deadline", "project_id", "state", "deadline_at", "id"),
        Index("incidents_by_amount", "project_id", "state", "sort_amount", "id"),
        Index("incidents_by_error", "project_id", "state", "error_code", "opened_at", "id"),
        _partial_index(
            "incidents_by_customer",
            *("project_id", "customer_reference"),
            where=INCIDENT_HAS_CUSTOMER,
        ),
        _partial_index(
            "incidents_at_risk",
            *("project_id", "currency", "amount", "state"),
            where=INCIDENT_IS_AT_RISK,
        ),
        _partial_index(
            "incidents_repaired", "project_id", "resolved_at", where=INCIDENT_IS_REPAIRED
        ),
        _partial_index(
            "incidents_acknowledged",
            *("project_id", "acknowledged_until", "id"),
            where=ACKNOWLEDGEMENT_ENDS,
        ),
        _partial_index("incidents_snoozed", "project_id", "snoozed_until", "id", where=SNOOZE_ENDS),
        _partial_index("incidents_looked_at", "project_id", "id", where=INCIDENT_IS_ACKNOWLEDGED),
        _partial_index(
            "incidents_by_assignee", "project_id", "assignee", where=INCIDENT_HAS_ASSIGNEE
        ),
        _partial_index(
            "incidents_by_cause",
            *("project_id", "effect_type", "reason", "error_code", "id"),
            where=INCIDENT_IS_UNRESOLVED,
        ),
        Index("incidents_by_group", "group_id", "state", "id"),
        _partial_index("incidents_ungrouped", "id", where=INCIDENT_IS_UNGROUPED),
    )

    id: str = _text(primary_key=True)
    event_id: str = _text(unique=True)  # exactly one incident for a receipt
    project_id: str = _text()
    state: str = _text()
    reason: str = _text()
    error_code: str | None = _text(nullable=True)
    error_message: str | None = _text(nullable=True)
    opened_at: datetime = _instant()
    acknowledged_at: datetime | None = _instant(nullable=True)
    resolved_at: datetime | None = _instant(nullable=True)
    resolution: str | None = _text(nullable=True)
    resolving_replay_id: str | None = _text(nullable=True)
    # JSON object: the latest `reprocess` signal seen of each series
    request_marks: str | None = _text(nullable=True)
    # Those of the receipt, so that the list of incidents filters by its own indexes.
    event_type: str = _added_text()
    effect_type: str = _added_text()
    amount: int | None = _amount()
    currency: str | None = _text(nullable=True)
    customer_reference: str | None = _text(nullable=True)
    acknowledged_by: str | None = _text(nullable=True)  # a user, a key, `cli` or `temporal`
    # None while `acknowledged_at` is set: an earlier version wrote it, and it has no end.
    acknowledged_until: datetime | None = _instant(nullable=True)
    assignee: str | None = _text(nullable=True)  # a user
    snoozed_until: datetime | None = _instant(nullable=True)
    # Of the receipt when it opened. 0 in rows of an earlier version.
    deadline_at: datetime = Field(
        default=None, sa_column=Column(Instant(), nullable=False, server_default=text("0"))
    )
    # `amount`, for its order; -1 without one.
    sort_amount: int = Field(
        default=-1, sa_column=Column(BigInteger, nullable=False, server_default=text("-1"))
    )
    # None: it opened before there were groups, or in an earlier version.
    group_id: str | None = _text(nullable=True)


class IncidentGroup(SQLModel, table=True):
    """Incidents of one cause. Its counts are those of its incidents, by state.

    `store.receipts.groups` keeps them in the transactions that change the incidents.
    """

    __tablename__: ClassVar[str] = "incident_groups"
    __table_args__ = (
        _partial_index(
            "incident_groups_by_cause",
            *("project_id", "effect_type", "reason", "error_code"),
            where=GROUP_TAKES_MORE,
            unique=True,
        ),
        Index("incident_groups_by_time", "project_id", "last_at", "id"),
        Index("incident_groups_by_stage", "project_id", "stage", "last_at", "id"),
        _partial_index(
            "incident_groups_muted", "project_id", "muted_until", "id", where=GROUP_HAS_MUTE
        ),
    )

    id: str = _text(primary_key=True)
    project_id: str = _text()
    effect_type: str = _text()
    reason: str = _text()
    error_code: str = _text()  # '' for none
    # the newest of its cause: the next incident joins it, if it opens soon enough
    takes_more: bool = Field()
    stage: str = _text()  # unresolved | resolved
    first_at: datetime = _instant()
    last_at: datetime = _instant()
    open_count: int = Field()
    repairing_count: int = Field()
    resolved_count: int = Field()
    muted_until: datetime | None = _instant(nullable=True)


class GroupAmount(SQLModel, table=True):
    """The sum of the amounts of a group's incidents in one currency.

    It is `billions` times 10^9 and `rest`, because 64 bits are too few for the sum.
    """

    __tablename__: ClassVar[str] = "group_amounts"

    group_id: str = _text(primary_key=True)
    currency: str = _text(primary_key=True)
    billions: int = Field(sa_column=Column(BigInteger, nullable=False))
    rest: int = Field(sa_column=Column(BigInteger, nullable=False))


class GroupWindow(SQLModel, table=True):
    """A span of time in which alerts of one kind about a group are gathered, and their number.

    `is_pause`: it began with an alert, so that no other goes out before its end.
    """

    __tablename__: ClassVar[str] = "group_windows"
    __table_args__ = (Index("group_windows_due", "project_id", "due_at"),)

    group_id: str = _text(primary_key=True)
    kind: str = _text(primary_key=True)
    project_id: str = _text()
    due_at: datetime = _instant()
    gathered: int = Field()
    is_pause: bool = Field()


class SearchText(SQLModel, table=True):
    """The texts of a receipt that a search looks into.

    `store.receipts.lists.search_index` fills it.
    """

    __tablename__: ClassVar[str] = "search_texts"

    id: int | None = _sequence()
    event_id: str = _text(unique=True)
    project_id: str = _text()
    # Internal reference, the provider's id, customer reference, request id, and the incident's
    # error code and message, a line each.
    text: str = _text()


class SearchProgress(SQLModel, table=True):
    """How far `search_texts` holds the receipts of a project and the errors of its incidents, each
    in the order of their list.
    """

    __tablename__: ClassVar[str] = "search_progress"

    project_id: str = _text(primary_key=True)
    until_at: datetime = _instant()
    until_id: str = _text()
    # The same of its incidents. Before 1970: none.
    incidents_until_at: datetime = Field(
        default=None, sa_column=Column(Instant(), nullable=False, server_default=text("-1"))
    )
    incidents_until_id: str = _added_text()


class Repair(SQLModel, table=True):
    __tablename__: ClassVar[str] = "repairs"
    __table_args__ = (
        Index("repairs_by_event", "event_id", "replay_id"),
        _partial_index(
            "repairs_one_active",
            "incident_id",
            unique=True,
            where=REPAIR_IS_ACTIVE,
        ),
        _partial_index("repairs_held", "hold_id", "replay_id", where=REPAIR_IS_HELD),
    )

    replay_id: str = _text(primary_key=True)
    incident_id: str = _text(index=True)
    event_id: str = _text()
    state: str = _text()
    cause: str | None = _text(nullable=True)
    requested_by: str = _text()
    requested_at: datetime = _instant()
    result_deadline_at: datetime | None = _instant(nullable=True)
    credited_outage: int = _newest_outage()
    # of the first attempt: every attempt sends the same bytes
    callback_body: str | None = _text(nullable=True)
    hold_id: str | None = _text(nullable=True)  # the last hold that held it
    released_at: datetime | None = _instant(nullable=True)  # when no hold matched any more


class Attempt(SQLModel, table=True):
    __tablename__: ClassVar[str] = "attempts"
    __table_args__ = (Index("attempts_by_event", "event_id", "replay_id", "number"),)

    replay_id: str = _text(primary_key=True)
    number: int = Field(primary_key=True)
    event_id: str = _text()
    state: str = _text()  # started | finished
    at: datetime = _instant()
    status: int | None = Field(default=None)
    duration_ms: int | None = Field(default=None)
    error_class: str | None = _text(nullable=True)
    # the process that sends it, as its heartbeat names it
    holder: str | None = _text(nullable=True)
    request_headers: str | None = _text(nullable=True)  # JSON list of [name, value], as sent
    answer_excerpt: str | None = _text(nullable=True)  # the beginning of the answer's body
    # None when none follows
    next_attempt_at: datetime | None = _instant(nullable=True)


class Result(SQLModel, table=True):
    __tablename__: ClassVar[str] = "results"
    __table_args__ = (
        Index("results_by_event", "event_id", "id"),
        Index("results_by_digest", "event_id", "status", "digest"),
    )

    id: str = _text(primary_key=True)
    event_id: str = _text()
    status: str = _text()
    replay_id: str | None = _text(nullable=True)
    error_code: str | None = _text(nullable=True)
    error_message: str | None = _text(nullable=True)
    received_at: datetime = _instant()
    # Of status, `replay_id` and error; '' in rows from before it was kept.
    digest: str = _added_text()
    # equal ones that came later and changed nothing
    repeats: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    repeated_at: datetime | None = _instant(nullable=True)
    already_applied: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default=false())
    )
    request_id: str | None = _text(nullable=True)  # of the request that reported it


class EarlyResult(SQLModel, table=True):
    """A result whose receipt has not come. '' in `provider` and `effect_type`: it named none."""

    __tablename__: ClassVar[str] = "early_results"
    __table_args__ = (
        # Also the index by event. Columns that are NULL would never be equal.
        UniqueConstraint(
            "project_id",
            "provider_event_id",
            "provider",
            "effect_type",
            "digest",
            name="early_results_once",
        ),
        Index("early_results_by_time", "received_at", "id"),
        Index("early_results_by_project", "project_id", "received_at", "id"),
    )

    id: str = _text(primary_key=True)
    project_id: str = _text()
    provider: str = _text()
    provider_event_id: str = _text()
    effect_type: str = _text()
    status: str = _text()
    error_code: str | None = _text(nullable=True)
    error_message: str | None = _text(nullable=True)
    digest: str = _text()  # of status, error and already_applied
    received_at: datetime = _instant()
    request_id: str = _text()
    repeats: int = Field(default=0)  # equal ones that came later
    repeated_at: datetime | None = _instant(nullable=True)
    already_applied: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default=false())
    )


class Source(SQLModel, table=True):
    """What watches one account of a provider, how far it has come, and how it fares."""

    __tablename__: ClassVar[str] = "sources"
    __table_args__ = (
        Index("sources_by_project", "project_id", "id"),
        _partial_index("sources_to_schedule", "id", where=SOURCE_IS_TO_SCHEDULE),
        _partial_index("sources_not_scheduled", "schedule_retry_at", where=SOURCE_IS_NOT_SCHEDULED),
        _partial_index("sources_removed", "id", where=SOURCE_IS_REMOVED),
        _partial_index("sources_unwell", "alerted_at", "id", where=SOURCE_IS_UNWELL),
    )

    id: str = _text(primary_key=True)
    project_id: str = _text()
    kind: str = _text()
    name: str = _text()
    expects: str = _text()  # JSON list of objects
    # The endpoint's signing secret or the provider's key, sealed by the project's data key.
    sealed_secret: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    every_minutes: int | None = Field(default=None)  # None: a webhook
    silent_after_minutes: int | None = Field(default=None)
    shop_domain: str | None = _text(nullable=True)
    account: str | None = _text(nullable=True)
    identity: str = _text()
    created_at: datetime = _instant()
    paused_at: datetime | None = _instant(nullable=True)
    resumed_at: datetime | None = _instant(nullable=True)  # silence counts from then on
    deleted_at: datetime | None = _instant(nullable=True)
    # Each change counts one up. The worker makes the Temporal Schedule of `scheduled_version`.
    version: int = Field(default=1)
    scheduled_version: int = Field(default=0)
    check_requested_at: datetime | None = _instant(nullable=True)  # a listing outside the Schedule
    last_event_at: datetime | None = _instant(nullable=True)
    last_listed_at: datetime | None = _instant(nullable=True)
    listed_until: datetime | None = _instant(nullable=True)  # all before it is stored
    # The listing under way: its span, and the page to go on from.
    listing_from: datetime | None = _instant(nullable=True)
    listing_until: datetime | None = _instant(nullable=True)
    listing_cursor: str | None = _text(nullable=True)
    listing_pages: int | None = Field(default=None)  # of that span; None: no page is stored
    # When a page of a span was last stored; of a webhook, when a delivery was last unreadable.
    page_at: datetime | None = _instant(nullable=True)
    silent_since: datetime | None = _instant(nullable=True)
    problem: str | None = _text(nullable=True)
    problem_detail: str | None = _text(nullable=True)
    problem_since: datetime | None = _instant(nullable=True)
    alerted_at: datetime | None = _instant(nullable=True)  # about the present silence or problem
    # When its Schedule is made again, after that failed for the present version.
    schedule_retry_at: datetime | None = _instant(nullable=True)


class SourceEvent(SQLModel, table=True):
    """An event that a source saw at the provider, for one effect. It is kept for 40 days."""

    __tablename__: ClassVar[str] = "source_events"
    __table_args__ = (
        UniqueConstraint(
            "source_id", "provider_event_id", "effect_type", name="source_events_once"
        ),
        Index("source_events_by_time", "source_id", "occurred_at", "id"),
        Index("source_events_by_event", "event_id", "id"),
        Index("source_events_by_age", "seen_at", "id"),
    )

    id: int | None = _sequence()
    source_id: str = _text()
    project_id: str = _text()
    event_id: str = _text()  # of its receipt, expected or accepted
    provider_event_id: str = _text()
    event_type: str = _text()
    effect_type: str = _text()
    occurred_at: datetime = _instant()
    seen_at: datetime = _instant()
    amount: int | None = Field(
        default=None, sa_column=Column(BigInteger, nullable=True)
    )  # in the minor unit of `currency`
    currency: str | None = _text(nullable=True)


class SourceGap(SQLModel, table=True):
    """A span of time whose events the provider does not list any more."""

    __tablename__: ClassVar[str] = "source_gaps"
    __table_args__ = (
        Index("source_gaps_by_source", "source_id", "id"),
        Index("source_gaps_by_age", "found_at", "id"),
    )

    id: int | None = _sequence()
    source_id: str = _text()
    project_id: str = _text()
    from_at: datetime = _instant()
    until_at: datetime = _instant()
    found_at: datetime = _instant()


class Timeline(SQLModel, table=True):
    __tablename__: ClassVar[str] = "timeline"
    __table_args__ = (Index("timeline_by_event", "event_id", "id"),)

    id: int | None = _sequence()
    event_id: str = _text()
    at: datetime = _instant()
    kind: str = _text()
    fields: str = _text()  # JSON object


class Outbox(SQLModel, table=True):
    """Starts and signals that Temporal must still get. A row is deleted after its delivery."""

    __tablename__: ClassVar[str] = "outbox"
    # Autoincrement: with a reused id, a late acknowledgement would delete the wrong row.
    __table_args__ = (
        Index("outbox_by_event", "event_id", "id"),
        _partial_index(
            "outbox_urgent",
            "event_id",
            where=f"kind IN ({', '.join(repr(kind.value) for kind in URGENT_KINDS)})",
        ),
        Index("outbox_by_turn", "claimed_until", "id"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = _sequence()
    event_id: str = _text()
    kind: str = _text()  # start | result | reprocess | resolve | expire | restart | accepted
    fields: str = _text()  # JSON object
    created_at: datetime = _instant()
    # A lease or a backoff. None: never tried.
    claimed_until: datetime | None = _instant(nullable=True)


class StuckRun(SQLModel, table=True):
    """A receipt whose run may be stuck. `found_at`: when Temporal reported that it cannot go on."""

    __tablename__: ClassVar[str] = "stuck_runs"
    __table_args__ = (
        Index("stuck_runs_by_turn", "project_id", "look_at"),
        _partial_index("stuck_runs_found", "event_id", where="found_at IS NOT NULL"),
    )

    event_id: str = _text(primary_key=True)
    project_id: str = _text()
    suspected_at: datetime = _instant()
    found_at: datetime | None = _instant(nullable=True)
    cause: str | None = _text(nullable=True)  # task_fails | task_not_taken | not_started
    look_at: datetime = _instant()  # not to be looked at before
    looks: int = Field(default=0)
    restarts: int = Field(default=0)
    restarted_at: datetime | None = _instant(nullable=True)


class AlertDestination(SQLModel, table=True):
    """A place that a project's alerts go to. Either `target` or `sealed_target` is set."""

    __tablename__: ClassVar[str] = "alert_destinations"
    __table_args__ = (
        # Also the index by project. Sealed targets are NULL there, which are never equal.
        UniqueConstraint("project_id", "channel", "target", name="alert_destinations_once"),
        CheckConstraint(
            "(target IS NULL) <> (sealed_target IS NULL)", name="alert_destinations_target"
        ),
        _partial_index("alert_destinations_failing", "id", where=DESTINATION_IS_FAILING),
    )

    id: str = _text(primary_key=True)
    project_id: str = _text()
    channel: str = _text()
    position: int = Field()  # the order of the channel's destinations
    target: str | None = _text(nullable=True)  # if it is no secret, such as an address
    # sealed by the project's data key
    sealed_target: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    events: str | None = _text(nullable=True)  # kinds of alerts, space-separated; None: all
    label: str | None = _text(nullable=True)  # a name for people
    disabled_at: datetime | None = _instant(nullable=True)
    last_sent_at: datetime | None = _instant(nullable=True)
    last_error: str | None = _text(nullable=True)
    last_error_at: datetime | None = _instant(nullable=True)
    unreached_since: datetime | None = _instant(nullable=True)  # the first failure after a success
    failing_since: datetime | None = _instant(nullable=True)  # an alert never arrived since then


class Alert(SQLModel, table=True):
    __tablename__: ClassVar[str] = "alerts"
    __table_args__ = (
        UniqueConstraint("incident_id", "kind", "replay_id", "destination", name="alerts_once"),
        # Two queues for each project: alerts never tried, and alerts that failed before.
        _partial_index("alerts_fresh", "project_id", "due_at", where=ALERT_IS_FRESH),
        _partial_index("alerts_retried", "project_id", "due_at", where=ALERT_IS_RETRIED),
        _partial_index("alerts_failing", "failing_since", where=ALERT_IS_RETRIED),
        _partial_index("alerts_ended", "ended_at", where="ended_at IS NOT NULL"),
        _partial_index(
            "alerts_notices",
            "project_id",
            "replay_id",
            "created_at",
            where="kind = 'destination_failing'",
        ),
    )

    id: int | None = _sequence()
    incident_id: str = _text()
    event_id: str = _text(index=True)
    kind: str = _text()
    # The subject of the kind: a repair, or the digest of a failing destination. '' for none,
    # because NULLs are not unique.
    replay_id: str = _text()
    # the target, or the id of a destination whose target is sealed
    destination: str = _text()
    created_at: datetime = _instant()
    due_at: datetime = _instant()  # not to be sent before; moved ahead by a claim and by a failure
    tries: int = Field(default=0)
    sent_at: datetime | None = _instant(nullable=True)
    last_error: str | None = _text(nullable=True)
    project_id: str | None = _text(nullable=True)  # None in what was sent before revision 0010
    failing_since: datetime | None = _instant(nullable=True)  # the first failure
    ended_at: datetime | None = _instant(nullable=True)  # not sent, and not tried any more
    end_reason: str | None = _text(nullable=True)
    channel: str = Field(
        default="email", sa_column=Column(Text, nullable=False, server_default="email")
    )
    # its mail's link acknowledged the incident
    link_used_at: datetime | None = _instant(nullable=True)


class CountProgress(SQLModel, table=True):
    """How far the facts of a project are counted: the last instant and id of each kind.

    `store.overview.counting` moves it, in the transaction that counts.
    """

    __tablename__: ClassVar[str] = "count_progress"

    project_id: str = _text(primary_key=True)
    accepted_at: datetime = _instant()
    accepted_id: str = _text()
    ended_at: datetime = _instant()
    ended_id: str = _text()
    opened_at: datetime = _instant()
    opened_id: str = _text()


class DayCount(SQLModel, table=True):
    """How many receipts had an outcome on a day (UTC), and the sum of their amounts.

    The sum is `billions` * 10^9 + `rest`: it may be longer than 64 bits.
    """

    __tablename__: ClassVar[str] = "day_counts"

    project_id: str = _text(primary_key=True)
    day: datetime = _instant_key()
    outcome: str = _text(primary_key=True)
    effect_type: str = _text(primary_key=True)
    provider: str = _text(primary_key=True)
    currency: str = _text(primary_key=True)  # '' without an amount
    receipts: int = _count()
    billions: int = _count()
    rest: int = _count()


class DurationCount(SQLModel, table=True):
    """How many durations that ended on a day are in a bucket (`domain.overview.durations`)."""

    __tablename__: ClassVar[str] = "duration_counts"

    project_id: str = _text(primary_key=True)
    day: datetime = _instant_key()
    measure: str = _text(primary_key=True)
    effect_type: str = _text(primary_key=True)
    bucket: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    receipts: int = _count()


class ReceiptHour(SQLModel, table=True):
    """The receipts of an event type that were accepted in an hour, and the last of them."""

    __tablename__: ClassVar[str] = "receipt_hours"

    project_id: str = _text(primary_key=True)
    hour: datetime = _instant_key()
    event_type: str = _text(primary_key=True)
    receipts: int = _count()
    last_at: datetime = _instant()


class Silence(SQLModel, table=True):
    """What is known of the silence of a project; with an `event_type`, of its receipts of that."""

    __tablename__: ClassVar[str] = "silences"
    __table_args__ = (
        _partial_index("silences_lasting", "project_id", "silent_since", where=PROJECT_IS_SILENT),
    )

    project_id: str = _text(primary_key=True)
    event_type: str = _text(primary_key=True)  # '': all of them
    learned_minutes: int | None = Field(default=None)  # None: too little is known
    learned_at: datetime | None = _instant(nullable=True)
    # The last receipt before the silence. None: it is not silent.
    silent_since: datetime | None = _instant(nullable=True)
    noticed_at: datetime | None = _instant(nullable=True)


class Idempotency(SQLModel, table=True):
    __tablename__: ClassVar[str] = "idempotency"

    project_id: str = _text(primary_key=True)
    endpoint: str = _text(primary_key=True)
    key: str = _text(primary_key=True)
    fingerprint: str = _text()  # SHA-256 of the raw body, hex
    status: int = Field()
    # the event, for an accepted receipt: its answer is made from that row
    subject: str | None = _text(nullable=True)
    # every other answer, as sent
    body: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    created_at: datetime = _instant(index=True)


class Outage(SQLModel, table=True):
    """An outage of ingest, credited to the deadlines open during it. `cursor`: the progress of
    that.
    """

    __tablename__: ClassVar[str] = "outages"
    # Autoincrement: deadlines refer to the credited outages by number.
    __table_args__ = (
        _partial_index("outages_pending", "id", where="done_at IS NULL"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = _sequence()
    down_from: datetime = _instant()
    up_at: datetime = _instant()
    accepted_until: datetime = _instant()  # a receipt accepted later than this has no part in it
    cursor: str = _text()  # the last receipt that the credit came to
    has_skipped: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default=false())
    )  # somebody had a receipt before it
    done_at: datetime | None = _instant(nullable=True)


class Heartbeat(SQLModel, table=True):
    """A living process of ours, written every 2 s; what it knows of itself is in `report`, a JSON
    object.

    With role `ingest`: when ingest could last commit.
    """

    __tablename__: ClassVar[str] = "heartbeats"

    process: str = _text(primary_key=True)
    role: str = _text()  # api | worker | ingest
    started_at: datetime = _instant()
    at: datetime = _instant()
    report: str = _text()


class Fact(SQLModel, table=True):
    """Single facts about this installation, such as the id of the Temporal namespace that it last
    talked to.
    """

    __tablename__: ClassVar[str] = "facts"

    name: str = _text(primary_key=True)
    value: str = _text()


class User(SQLModel, table=True):
    __tablename__: ClassVar[str] = "users"

    id: str = _text(primary_key=True)
    email: str | None = _text(nullable=True, unique=True)
    password_hash: str | None = _text(nullable=True)
    created_at: datetime = _instant()
    # how dates and times are shown; None: UTC, and English (UK)
    time_zone: str | None = _text(nullable=True)
    date_language: str | None = _text(nullable=True)


class LoginLink(SQLModel, table=True):
    __tablename__: ClassVar[str] = "login_links"

    digest: str = _text(primary_key=True)  # SHA-256 of the token
    user_id: str | None = _text(nullable=True)
    expires_at: datetime = _instant()
    used_at: datetime | None = _instant(nullable=True)


class Session(SQLModel, table=True):
    __tablename__: ClassVar[str] = "sessions"

    digest: str = _text(primary_key=True)  # SHA-256 of the token
    user_id: str = _text(index=True)
    created_at: datetime = _instant()
    seen_at: datetime = _instant()
    expires_at: datetime = _instant()
    address: str = _text()  # where it was signed in from
    user_agent: str = _text()
    proved_at: datetime | None = _instant(nullable=True)  # when its user last authenticated again


class Administrator(SQLModel, table=True):
    """The users who own every project and may open the pages of the installation."""

    __tablename__: ClassVar[str] = "administrators"

    user_id: str = _text(primary_key=True)
    since: datetime = _instant()


class Member(SQLModel, table=True):
    __tablename__: ClassVar[str] = "members"

    project_id: str = _text(primary_key=True)
    user_id: str = _text(primary_key=True, index=True)
    role: str = _text()  # viewer | operator | owner
    since: datetime = _instant()


class Invitation(SQLModel, table=True):
    """An invitation link to a project. Accepting it creates the membership."""

    __tablename__: ClassVar[str] = "invitations"

    digest: str = _text(primary_key=True)  # SHA-256 of the token
    id: str = _text(unique=True)
    project_id: str = _text(index=True)
    email: str = _text()
    role: str = _text()
    invited_by: str = _text()
    expires_at: datetime = _instant()
    used_at: datetime | None = _instant(nullable=True)


class SavedView(SQLModel, table=True):
    """A named search of the list of incidents. `project_id` None: only its user sees it."""

    __tablename__: ClassVar[str] = "saved_views"
    __table_args__ = (
        Index("saved_views_by_user", "user_id", "id"),
        Index("saved_views_by_project", "project_id", "id"),
    )

    id: str = _text(primary_key=True)
    user_id: str = _text()
    project_id: str | None = _text(nullable=True)
    name: str = _text()
    query: str = _text()  # of the list's address
    created_at: datetime = _instant()


class TotpFactor(SQLModel, table=True):
    """The TOTP secret of a user. It is not required before it is confirmed."""

    __tablename__: ClassVar[str] = "totp_factors"

    user_id: str = _text(primary_key=True)
    # sealed by the master key
    data_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = _instant()
    confirmed_at: datetime | None = _instant(nullable=True)
    # the newest that was accepted
    last_step: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))


class RecoveryCode(SQLModel, table=True):
    __tablename__: ClassVar[str] = "recovery_codes"

    user_id: str = _text(primary_key=True)
    digest: str = _text(primary_key=True)  # SHA-256 of user and code
    created_at: datetime = _instant()
    used_at: datetime | None = _instant(nullable=True)


class Passkey(SQLModel, table=True):
    """A WebAuthn credential of a user. Nothing in it is secret."""

    __tablename__: ClassVar[str] = "passkeys"

    id: str = _text(primary_key=True)
    user_id: str = _text(index=True)
    name: str = _text()
    credential_id: str = _text(unique=True)  # base64url
    public_key: str = _text()  # base64url of the COSE key
    sign_count: int = Field(sa_column=Column(BigInteger, nullable=False))
    rp_id: str = _text()  # the host name for which it was made
    transports: str = _text()  # hints for the browser, separated by spaces
    created_at: datetime = _instant()
    last_used_at: datetime | None = _instant(nullable=True)


class PasskeyChallenge(SQLModel, table=True):
    """The challenge of a ceremony that has begun. The answer deletes it, right or wrong."""

    __tablename__: ClassVar[str] = "passkey_challenges"

    challenge: str = _text(primary_key=True)  # base64url
    ceremony: str = _text()  # registration | sign_in | second_factor | step_up
    browser: str = _text(index=True)  # digest of the cookie of the browser that asked
    user_id: str | None = _text(nullable=True)  # None: whoever has the passkey
    expires_at: datetime = _instant(index=True)


class Throttle(SQLModel, table=True):
    """Failed login attempts, counted by account, address or a user's codes."""

    __tablename__: ClassVar[str] = "throttles"

    name: str = _text(primary_key=True)  # what is counted, and the digest of whose it is
    failures: int = Field()
    open_at: datetime = _instant()  # not to be tried before
    # until this `open_at`, a refused attempt is already in the audit log
    told_until: datetime | None = _instant(nullable=True)
    forgotten_at: datetime = _instant(index=True)


class Identity(SQLModel, table=True):
    """The identity of a user at an identity provider."""

    __tablename__: ClassVar[str] = "identities"

    issuer: str = _text(primary_key=True)
    subject: str = _text(primary_key=True)
    user_id: str = _text(index=True)
    created_at: datetime = _instant()


class AuditLog(SQLModel, table=True):
    """The append-only audit log. `store.audit.log` numbers entries without gaps; a gap is a lost
    entry.
    """

    __tablename__: ClassVar[str] = "audit_log"
    __table_args__ = (
        Index("audit_log_by_project", "project_id", "sequence"),
        Index("audit_log_by_action", "action", "sequence"),
        Index("audit_log_by_actor", "actor", "sequence"),
        Index("audit_log_by_subject", "subject_id", "sequence"),
    )

    sequence: int = _number()
    at: datetime = _instant()
    actor: str = _text()
    address: str | None = _text(nullable=True)
    request_id: str | None = _text(nullable=True)
    action: str = _text()
    subject_type: str | None = _text(nullable=True)
    subject_id: str | None = _text(nullable=True)
    project_id: str | None = _text(nullable=True)
    details: str = _text()  # JSON object
    previous_hash: str = _text()
    hash: str = _text(unique=True)


class AuditHead(SQLModel, table=True):
    """The end of the audit log: one row, sealed with a key that is not in the database."""

    __tablename__: ClassVar[str] = "audit_head"

    sequence: int = _number()
    hash: str = _text()
    seal: str = _text()


class EvidenceKey(SQLModel, table=True):
    """An Ed25519 key that signs evidence. One is current; of a retired one only the public key is
    left.
    """

    __tablename__: ClassVar[str] = "evidence_keys"
    __table_args__ = (
        _partial_index("evidence_keys_current", "role", where="role = 'current'", unique=True),
    )

    id: str = _text(primary_key=True)  # from the public key's digest
    role: str = _text()  # current | retired
    public_key: str = _text()  # hex
    # sealed by the master key
    data_key: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    # the private key
    sealed: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    created_at: datetime = _instant()
    retired_at: datetime | None = _instant(nullable=True)


class Hold(SQLModel, table=True):
    """While it is active, no repair of the incidents that it matches begins.

    After its end, the repairs that it held are released one by one.
    """

    __tablename__: ClassVar[str] = "holds"
    __table_args__ = (
        _partial_index("holds_active", "project_id", "id", where=HOLD_IS_ACTIVE),
        _partial_index("holds_due", "until_at", where=HOLD_IS_ACTIVE),
        _partial_index("holds_releasing", "id", where=HOLD_IS_RELEASING),
        Index("holds_by_project", "project_id", "id"),
    )

    id: str = _text(primary_key=True)
    project_id: str = _text()
    effect_type: str | None = _text(nullable=True)
    internal_reference: str | None = _text(nullable=True)
    reason: str = _text()
    until_at: datetime | None = _instant(nullable=True)
    created_at: datetime = _instant()
    created_by: str = _text()
    ended_at: datetime | None = _instant(nullable=True)
    released_at: datetime | None = _instant(nullable=True)  # it holds nothing any more


class BulkRepair(SQLModel, table=True):
    """A repair of many incidents. `version` counts the changes that its workflow is signalled."""

    __tablename__: ClassVar[str] = "bulk_repairs"
    __table_args__ = (
        Index("bulk_repairs_by_project", "project_id", "id"),
        _partial_index("bulk_repairs_to_deliver", "id", where=BULK_IS_TO_DELIVER),
        _partial_index("bulk_repairs_undone", "id", where=BULK_IS_UNDONE),
        _partial_index("bulk_repairs_undone_of_project", "project_id", "id", where=BULK_IS_UNDONE),
    )

    id: str = _text(primary_key=True)
    project_id: str = _text()
    state: str = _text()
    reason: str = _text()
    requested_by: str = _text()
    first_count: int = Field()
    then_count: int = Field()
    per_minute: int = Field()
    stop_at_failed_percent: int = Field()
    include_superseded: bool = Field()
    created_at: datetime = _instant()
    ended_at: datetime | None = _instant(nullable=True)  # it begins nothing any more
    done_at: datetime | None = _instant(nullable=True)  # and all that it began is decided
    stopped_because: str | None = _text(nullable=True)
    begun: int = Field(default=0)
    paced_at: datetime | None = _instant(nullable=True)
    changed_at: datetime = _instant()  # when an item or the state changed last
    stepped_at: datetime | None = _instant(nullable=True)  # the last step of its workflow
    version: int = Field(default=1)
    delivered_version: int = Field(default=0)


class BulkRepairItem(SQLModel, table=True):
    """An incident of a bulk repair. Its membership is fixed when the bulk repair starts."""

    __tablename__: ClassVar[str] = "bulk_repair_items"
    __table_args__ = (
        Index("bulk_repair_items_by_state", "bulk_id", "state", "position"),
        Index("bulk_repair_items_by_event", "event_id"),
    )

    bulk_id: str = _text(primary_key=True)
    position: int = Field(primary_key=True)
    incident_id: str = _text()
    event_id: str = _text()
    state: str = _text()  # waiting | repairing | succeeded | failed | skipped
    replay_id: str | None = _text(nullable=True)
    skipped_because: str | None = _text(nullable=True)
    begun_at: datetime | None = _instant(nullable=True)
    decided_at: datetime | None = _instant(nullable=True)
    tries: int = Field(default=0)  # how often it could not begin


class RepairRule(SQLModel, table=True):
    """A rule of automatic repair. The first of a project that matches an incident acts."""

    __tablename__: ClassVar[str] = "repair_rules"
    __table_args__ = (UniqueConstraint("project_id", "name", name="repair_rules_once"),)

    id: str = _text(primary_key=True)
    project_id: str = _text()
    position: int = Field()
    name: str = _text()
    effect_type: str | None = _text(nullable=True)
    event_type: str | None = _text(nullable=True)
    reason: str | None = _text(nullable=True)
    error_code: str | None = _text(nullable=True)  # a glob
    delay_seconds: int = Field()
    max_repairs_per_incident: int = Field()
    max_per_hour: int = Field()
    disarm_after_failures: int = Field()
    failures: int = Field(default=0)  # in a row
    disarmed_at: datetime | None = _instant(nullable=True)


class RuleTurn(SQLModel, table=True):
    """An open incident that the rules of its project are still to judge, at `due_at`."""

    __tablename__: ClassVar[str] = "rule_turns"
    __table_args__ = (Index("rule_turns_by_due", "project_id", "due_at", "incident_id"),)

    incident_id: str = _text(primary_key=True)
    event_id: str = _text(index=True)
    project_id: str = _text()
    since_at: datetime = _instant()  # the opening, or the failure of a rule's repair
    due_at: datetime = _instant()


class RuleRepair(SQLModel, table=True):
    """A repair that a rule began. `outcome` None: it is not decided."""

    __tablename__: ClassVar[str] = "rule_repairs"
    __table_args__ = (
        Index("rule_repairs_by_rule", "rule_id", "at"),
        _partial_index("rule_repairs_open", "rule_id", "replay_id", where=RULE_REPAIR_IS_OPEN),
    )

    replay_id: str = _text(primary_key=True)
    rule_id: str = _text()
    event_id: str = _text(index=True)
    at: datetime = _instant()
    outcome: str | None = _text(nullable=True)  # succeeded | failed | other


# Each table under its name, for queries. No other module gives one a second name.
TABLES: Mapping[str, Table] = SQLModel.metadata.tables
PROJECTS = TABLES["projects"]
API_KEYS = TABLES["api_keys"]
SIGNING_SECRETS = TABLES["signing_secrets"]
RECEIPTS = TABLES["receipts"]
INCIDENTS = TABLES["incidents"]
REPAIRS = TABLES["repairs"]
ATTEMPTS = TABLES["attempts"]
RESULTS = TABLES["results"]
EARLY_RESULTS = TABLES["early_results"]
SOURCES = TABLES["sources"]
SOURCE_EVENTS = TABLES["source_events"]
SOURCE_GAPS = TABLES["source_gaps"]
TIMELINE = TABLES["timeline"]
INCIDENT_GROUPS = TABLES["incident_groups"]
GROUP_AMOUNTS = TABLES["group_amounts"]
GROUP_WINDOWS = TABLES["group_windows"]
SEARCH_TEXTS = TABLES["search_texts"]
SEARCH_PROGRESS = TABLES["search_progress"]
OUTBOX = TABLES["outbox"]
STUCK_RUNS = TABLES["stuck_runs"]
ALERTS = TABLES["alerts"]
ALERT_DESTINATIONS = TABLES["alert_destinations"]
COUNT_PROGRESS = TABLES["count_progress"]
DAY_COUNTS = TABLES["day_counts"]
DURATION_COUNTS = TABLES["duration_counts"]
RECEIPT_HOURS = TABLES["receipt_hours"]
SILENCES = TABLES["silences"]
# Made by the worker from a project's receipts.
OF_COUNTS = (COUNT_PROGRESS, DAY_COUNTS, DURATION_COUNTS, RECEIPT_HOURS, SILENCES)
IDEMPOTENCY = TABLES["idempotency"]
OUTAGES = TABLES["outages"]
HEARTBEATS = TABLES["heartbeats"]
FACTS = TABLES["facts"]
USERS = TABLES["users"]
LOGIN_LINKS = TABLES["login_links"]
SESSIONS = TABLES["sessions"]
ADMINISTRATORS = TABLES["administrators"]
MEMBERS = TABLES["members"]
INVITATIONS = TABLES["invitations"]
SAVED_VIEWS = TABLES["saved_views"]
TOTP_FACTORS = TABLES["totp_factors"]
RECOVERY_CODES = TABLES["recovery_codes"]
PASSKEYS = TABLES["passkeys"]
PASSKEY_CHALLENGES = TABLES["passkey_challenges"]
THROTTLES = TABLES["throttles"]
IDENTITIES = TABLES["identities"]
AUDIT_LOG = TABLES["audit_log"]
AUDIT_HEAD = TABLES["audit_head"]
EVIDENCE_KEYS = TABLES["evidence_keys"]
HOLDS = TABLES["holds"]
BULK_REPAIRS = TABLES["bulk_repairs"]
BULK_REPAIR_ITEMS = TABLES["bulk_repair_items"]
REPAIR_RULES = TABLES["repair_rules"]
RULE_TURNS = TABLES["rule_turns"]
RULE_REPAIRS = TABLES["rule_repairs"]

make_append_only(AUDIT_LOG, AUDIT_HEAD)
index_with_trigrams(SEARCH_TEXTS)
