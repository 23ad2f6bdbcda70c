"""Maps rows to domain values, with one function for each domain type. Rows never leave `store`.

A row is a SQLAlchemy row with the column names of `tables.py`. It may have further columns. A
function lists only the fields that differ from their column.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Row

from domain.alerts import AlertDestination
from domain.audit import AuditEntry
from domain.ids import EventId, UserId
from domain.incidents import (
    TIMELINE_INSTANTS,
    Attempt,
    AttemptState,
    Incident,
    IncidentState,
    Reason,
    Repair,
    RepairCause,
    RepairState,
    Resolution,
    TimelineEntry,
    TimelineKind,
)
from domain.names import OwnNames
from domain.projects import Key, Project, Scope
from domain.receipts import EffectType, EventType, Flag, Provider, Receipt, ReceiptState
from domain.results import EarlyResult, EarlyResults, LateResult, Result, ResultFacts, ResultStatus
from domain.search.saved_views import SavedView
from domain.sources.events import SeenBy
from domain.sources.source import Expects, Gap, ShopifyIdentity, Source, SourceKind, SourceProblem
from domain.users import User
from domain.values.enums import member_or_text
from domain.values.text import well_formed
from domain.values.timestamps import parse_instant, to_iso_or_none
from store.schema.tables import ATTEMPTS, RECEIPTS, REPAIRS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Without `payload`, which has up to 32 KiB and is not needed in a list.
RECEIPT_COLUMNS = tuple(column for column in RECEIPTS.c if column.name != "payload")
# Without the request of a callback, which only its own page needs.
REPAIR_COLUMNS = tuple(column for column in REPAIRS.c if column.name != "callback_body")
ATTEMPT_COLUMNS = tuple(column for column in ATTEMPTS.c if column.name != "request_headers")

# Before a name that a project removed. No name begins so.
RETIRED = "-"

T = TypeVar("T", bound="DataclassInstance")


def project_from(row: Row[Any], alert_destinations: Sequence[AlertDestination]) -> Project:
    return from_row(
        Project,
        row,
        livemode=row.mode == "live",
        late_result=member_or_text(LateResult, row.late_result),
        early_results=member_or_text(EarlyResults, row.early_results),
        alert_destinations=tuple(alert_destinations),
        is_suspended=row.suspended_at is not None,
        providers=own_names_from(row.providers),
        event_types=own_names_from(row.event_types),
        effect_types=own_names_from(row.effect_types),
        silent_event_types=silent_types_from(row.silent_event_types),
    )


def silent_types_from(text: str) -> tuple[tuple[str, int | None], ...]:
    """The event types that are watched apart, and after how many minutes each is silent."""
    stored = json.loads(text) if text else {}
    return tuple((str(name), minutes) for name, minutes in sorted(stored.items()))


def silent_types_text(types: Mapping[str, int | None]) -> str:
    """The same as its column holds it; '' without any."""
    return json.dumps(dict(types), sort_keys=True) if types else ""


def own_names_from(text: str) -> OwnNames:
    """The names of a column that `own_names_text` wrote."""
    names = text.split()
    current = tuple(name for name in names if not name.startswith(RETIRED))
    return OwnNames(current, tuple(name[1:] for name in names if name.startswith(RETIRED)))


def own_names_text(names: OwnNames) -> str:
    """The names as a column holds them: space-separated, with a mark before a retired one."""
    return " ".join((*names.current, *(RETIRED + name for name in names.retired)))


def destination_from(row: Row[Any]) -> AlertDestination:
    events = None if row.events is None else frozenset(row.events.split())
    return from_row(AlertDestination, row, events=events)


def expects_from(text: str) -> tuple[Expects, ...]:
    """What a source expects, from its column. A row may lack `since`: then it is None."""
    return tuple(
        Expects(**{**one, "since": parse_instant(one.get("since") or "")})
        for one in json.loads(text)
    )


def expects_text(expects: tuple[Expects, ...]) -> str:
    """What a source expects, as its column holds it."""
    return json.dumps([{**asdict(one), "since": to_iso_or_none(one.since)} for one in expects])


def source_from(row: Row[Any]) -> Source:
    """A source. One of a kind that a newer version made has no reader here: it is not selected."""
    return from_row(
        Source,
        row,
        kind=SourceKind(row.kind),
        expects=expects_from(row.expects),
        identity=ShopifyIdentity(row.identity),
        problem=None if row.problem is None else member_or_text(SourceProblem, row.problem),
        is_scheduled=row.scheduled_version >= row.version,
    )


def seen_by_from(row: Row[Any]) -> SeenBy:
    return from_row(SeenBy, row, kind=member_or_text(SourceKind, row.kind))


def gap_from(row: Row[Any]) -> Gap:
    return from_row(Gap, row)


def key_from(row: Row[Any]) -> Key:
    return from_row(
        Key, row, scopes=frozenset(member_or_text(Scope, scope) for scope in row.scopes.split())
    )


def user_from(row: Row[Any]) -> User:
    return User(user_id=UserId(row.id), email=row.email, has_password=row.password_hash is not None)


def saved_view_from(row: Row[Any]) -> SavedView:
    return from_row(SavedView, row)


def receipt_from(row: Row[Any]) -> Receipt:
    return from_row(
        Receipt,
        row,
        accepted_at=None if row.lacks_receipt else row.accepted_at,
        listed_at=row.accepted_at,
        state=member_or_text(ReceiptState, row.state),
        provider=member_or_text(Provider, row.provider),
        event_type=member_or_text(EventType, row.event_type),
        effect_type=member_or_text(EffectType, row.effect_type),
        flags=tuple(member_or_text(Flag, flag) for flag in row.flags.split()),
    )


def incident_from(
    row: Row[Any],
    *,
    active_replay_id: str | None,
    names: Mapping[str, str],
    superseded_by: EventId | None,
    muted: bool,
) -> Incident:
    """The incident. `names` are those of the people and keys that its columns hold as ids."""
    return from_row(
        Incident,
        row,
        assignee=names.get(row.assignee or ""),
        acknowledged_by=names.get(row.acknowledged_by or ""),
        superseded_by=superseded_by,
        state=member_or_text(IncidentState, row.state),
        reason=member_or_text(Reason, row.reason),
        resolution=None if row.resolution is None else member_or_text(Resolution, row.resolution),
        active_replay_id=active_replay_id,
        muted=muted,
    )


def repair_from(row: Row[Any], *, attempts: Sequence[Attempt]) -> Repair:
    return from_row(
        Repair,
        row,
        state=member_or_text(RepairState, row.state),
        cause=None if row.cause is None else member_or_text(RepairCause, row.cause),
        attempts=tuple(attempts),
    )


def attempt_from(row: Row[Any]) -> Attempt:
    return from_row(Attempt, row, state=member_or_text(AttemptState, row.state))


def headers_from(text: str | None) -> tuple[tuple[str, str], ...]:
    """The headers of a callback from their column."""
    return tuple((name, value) for name, value in json.loads(text or "[]"))


def result_from(row: Row[Any]) -> Result:
    facts = from_row(ResultFacts, row, status=ResultStatus(row.status))
    return from_row(Result, row, facts=facts)


def early_result_from(row: Row[Any]) -> EarlyResult:
    return from_row(
        EarlyResult,
        row,
        provider=row.provider or None,
        effect_type=row.effect_type or None,
        status=ResultStatus(row.status),
    )


def timeline_entry_from(row: Row[Any]) -> TimelineEntry:
    stored = json.loads(row.fields)
    return from_row(
        TimelineEntry,
        row,
        kind=member_or_text(TimelineKind, row.kind),
        fields={name: _timeline_field(name, value) for name, value in stored.items()},
    )


def _timeline_field(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    if name in TIMELINE_INSTANTS:
        return datetime.fromisoformat(value)
    # JSON may contain lone surrogates, which cannot be encoded in a response.
    return well_formed(value, characters=len(value))


def audit_entry_from(row: Row[Any]) -> AuditEntry:
    return from_row(AuditEntry, row)


def from_row(value_type: type[T], row: Row[Any], **mapped: object) -> T:
    """The domain value of a row.

    `mapped` are the fields that differ from their column. All others are columns of the same name.
    """
    same = {
        field.name: getattr(row, field.name)
        for field in fields(value_type)
        if field.name not in mapped
    }
    return value_type(**same, **mapped)
