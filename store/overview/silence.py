"""The silence of projects: what was learned, the episodes, and one alert for each.

An episode begins with a silence, and ends with the next receipt. Its alert's `incident_id` and
`event_id` are the project's id, its `replay_id` is the last receipt before it and the event type.
If the whole project is silent, its types have no alerts of their own. `worker.overview.silence`
calls this.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from domain.alerts import AlertDestination
from domain.ids import EventId, IncidentId, ProjectId
from domain.incidents import AlertKind
from domain.overview.silence import LEARNED_FROM, HourOfReceipts, Verdict, Watch, learn_minutes
from domain.values.timestamps import from_unix_ms, to_unix_ms
from store.db.sql import Row, SessionStatements, Statements, among, limit_lock_wait
from store.overview.counting import SETTLED_AFTER, purge_counts
from store.receipts.rows.alerts import insert_alert, read_recipients
from store.schema.mappers import silent_types_from
from store.schema.tables import PROJECT_IS_SILENT

LEARNED_EVERY = timedelta(days=1)
WHOLE = ""

_PROJECTS = """
SELECT p.id, p.mode, p.created_at, p.resumed_at, p.silent_after_minutes, p.silent_event_types,
  (SELECT max(h.last_at) FROM receipt_hours AS h WHERE h.project_id = p.id
    AND h.hour = (SELECT max(n.hour) FROM receipt_hours AS n WHERE n.project_id = p.id))
FROM projects AS p
WHERE p.id {scope} AND p.deleted_at IS NULL AND p.suspended_at IS NULL ORDER BY p.id"""
_SILENCES = """
SELECT project_id, event_type, learned_minutes, learned_at, silent_since FROM silences
WHERE project_id {scope}"""
_LAST_OF_TYPE = """
SELECT last_at FROM receipt_hours
WHERE project_id = $1 AND event_type = $2 ORDER BY hour DESC LIMIT 1"""
_LOCK_LIVING = {
    "sqlite": "SELECT 1 FROM projects WHERE id = $1 AND deleted_at IS NULL",
    "postgresql": "SELECT 1 FROM projects WHERE id = $1 AND deleted_at IS NULL FOR SHARE",
}
_BEGIN = """
INSERT INTO silences (project_id, event_type, silent_since, noticed_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (project_id, event_type) DO UPDATE SET
  silent_since = excluded.silent_since, noticed_at = excluded.noticed_at
WHERE silences.silent_since IS NULL RETURNING 1"""
_END = """
UPDATE silences SET silent_since = NULL, noticed_at = NULL
WHERE project_id = $1 AND event_type = $2 AND silent_since = $3"""
_IS_SILENT = f"""
SELECT 1 FROM silences WHERE project_id = $1 AND event_type = '' AND {PROJECT_IS_SILENT}"""  # noqa: S608
_HOURS = """
SELECT hour, event_type, receipts, last_at FROM receipt_hours
WHERE project_id = $1 AND hour >= $2 ORDER BY hour"""
_LEARN = """
INSERT INTO silences (project_id, event_type, learned_minutes, learned_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (project_id, event_type) DO UPDATE SET
  learned_minutes = excluded.learned_minutes, learned_at = excluded.learned_at"""
_FORGET = (
    "DELETE FROM silences WHERE project_id = $1 AND event_type <> '' AND NOT (event_type {types})"
)
_COUNT = f"""SELECT count(*) FROM (
  SELECT 1 FROM silences AS s JOIN projects AS p ON p.id = s.project_id
  WHERE s.{PROJECT_IS_SILENT} AND p.suspended_at IS NULL AND p.deleted_at IS NULL LIMIT $1
) AS anon_silent"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class SilenceFacts:
    """The contents of an alert about a silent project.

    `event_type` is '' for the whole project. `minutes` is None if it is not watched any more.
    """

    project_id: ProjectId
    livemode: bool
    project_name: str
    destinations: tuple[AlertDestination, ...]
    event_type: str
    since: datetime
    minutes: int | None
    has_receipts: bool
    is_over: bool


async def read_watches(session: AsyncSession, project_ids: Collection[ProjectId]) -> list[Watch]:
    """What is watched of these projects, each as a whole first. Suspended ones are left out."""
    st = SessionStatements(session)
    scope, ids = among(st.dialect, "$1"), json.dumps(list(project_ids))
    known = {(row[0], row[1]): row for row in await st.fetch(_SILENCES.format(scope=scope), ids)}
    watches = []
    for row in await st.fetch(_PROJECTS.format(scope=scope), ids):
        project_id, last_ms = ProjectId(row[0]), row[6]
        watches.append(_watch(row, WHOLE, row[4], last_ms, known.get((project_id, WHOLE))))
        for event_type, minutes in _types(row[5], project_id, known).items():
            found = await st.fetch(_LAST_OF_TYPE, project_id, event_type)
            last_of_type = found[0][0] if found else None
            recorded = known.get((project_id, event_type))
            watches.append(_watch(row, event_type, minutes, last_of_type, recorded))
    return watches


async def record_verdict(
    session: AsyncSession, watch: Watch, verdict: Verdict, now: datetime
) -> None:
    """Record that the silence begins, with its alerts, or ends; a second time changes nothing."""
    st = SessionStatements(session)
    await limit_lock_wait(st)
    if not await st.fetch(_LOCK_LIVING[st.dialect], watch.project_id):
        return
    key = (watch.project_id, watch.event_type)
    if verdict is Verdict.ENDS and watch.silent_since is not None:
        await st.fetch(_END, *key, to_unix_ms(watch.silent_since))
        return
    begun = await st.fetch(_BEGIN, *key, to_unix_ms(watch.since), to_unix_ms(now))
    is_told = watch.event_type != WHOLE and await st.fetch(_IS_SILENT, watch.project_id)
    if begun and not is_told:
        await _alert(st, watch, now)


async def learn(
    session: AsyncSession, project_id: ProjectId, event_types: Collection[str], now: datetime
) -> None:
    """Learn the usual silence of a project and of these types, and delete its old counts."""
    st = SessionStatements(session)
    await limit_lock_wait(st)
    if not await st.fetch(_LOCK_LIVING[st.dialect], project_id):
        return
    rows = await st.fetch(_HOURS, project_id, to_unix_ms(now - LEARNED_FROM))
    for event_type in (WHOLE, *sorted(event_types)):
        minutes = learn_minutes(_hours_of(rows, event_type), now)
        await st.fetch(_LEARN, project_id, event_type, minutes, to_unix_ms(now))
    types = among(st.dialect, "$2")
    await st.fetch(_FORGET.format(types=types), project_id, json.dumps(sorted(event_types)))
    await purge_counts(session, project_id, now)


async def count_silent(session: AsyncSession, *, limit: int) -> int:
    """How many projects and types are silent, of `limit` at most."""
    ((count,),) = await SessionStatements(session).fetch(_COUNT, limit)
    return int(count)


async def read_silence_facts(
    session: AsyncSession,
    project_id: ProjectId,
    about: str,
    *,
    name: str,
    destinations: tuple[AlertDestination, ...],
) -> SilenceFacts:
    """The contents of an alert. `about` is from `write_about`.

    Raises:
        LookupError: it is not, or the project was deleted or is suspended.
    """
    try:
        since, event_type = read_about(about)
    except (ValueError, OverflowError) as error:
        raise LookupError("the alert is about no silence") from error
    watches = await read_watches(session, [project_id])
    whole = next((one for one in watches if one.event_type == WHOLE), None)
    if whole is None:
        raise LookupError(f"{project_id} is not watched")
    watch = next((one for one in watches if one.event_type == event_type), None)
    return SilenceFacts(
        project_id=project_id,
        livemode=whole.livemode,
        project_name=name,
        destinations=destinations,
        event_type=event_type,
        since=since,
        minutes=None if watch is None else watch.minutes,
        has_receipts=watch is not None and watch.last_at is not None,
        is_over=watch is None or watch.silent_since != since,
    )


def write_about(watch: Watch) -> str:
    """What the alerts of an episode are about: its beginning, and the event type if any."""
    since = str(to_unix_ms(watch.since))
    return f"{since}:{watch.event_type}" if watch.event_type else since


def read_about(about: str) -> tuple[datetime, str]:
    """The beginning and the event type ('' for the whole project) of an episode.

    Raises:
        ValueError: the text is not from `write_about`.
    """
    since, _, event_type = about.partition(":")
    return from_unix_ms(int(since)), event_type


def settled(now: datetime) -> datetime:
    """Until when everything of a project that has nothing to count is counted."""
    return now - SETTLED_AFTER


def _types(
    text: str, project_id: ProjectId, known: Mapping[tuple[str, str], Row]
) -> dict[str, int | None]:
    """The minutes of each type that is watched apart; 0 of one that was, and is recorded silent."""
    no_more = {
        event_type: 0
        for (of_project, event_type), row in known.items()
        if of_project == project_id and event_type != WHOLE and row[4] is not None
    }
    return {**no_more, **dict(silent_types_from(text))}


async def _alert(st: Statements, watch: Watch, now: datetime) -> None:
    for recipient in await read_recipients(st, watch.project_id, AlertKind.PROJECT_SILENT):
        await insert_alert(
            st,
            project_id=watch.project_id,
            incident_id=IncidentId(watch.project_id),
            event_id=EventId(watch.project_id),
            kind=AlertKind.PROJECT_SILENT,
            about=write_about(watch),
            recipient=recipient,
            now=now,
        )


def _watch(
    project: Row, event_type: str, minutes: int | None, last_ms: int | None, silence: Row | None
) -> Watch:
    project_id, mode, created_ms, resumed_ms = project[:4]
    learned_minutes, learned_ms, since_ms = (None, None, None) if silence is None else silence[2:5]
    return Watch(
        project_id=ProjectId(project_id),
        event_type=event_type,
        livemode=mode == "live",
        set_minutes=minutes,
        learned_minutes=learned_minutes,
        learned_at=_instant(learned_ms),
        watched_from=from_unix_ms(max(created_ms, resumed_ms or 0)),
        last_at=_instant(last_ms),
        silent_since=_instant(since_ms),
    )


def _hours_of(rows: Sequence[Row], event_type: str) -> list[HourOfReceipts]:
    """The hours of a type, or of all of them, in their order."""
    hours: dict[int, tuple[int, int]] = {}
    for hour_ms, of_type, receipts, last_ms in rows:
        if event_type in (WHOLE, of_type):
            count, latest = hours.get(hour_ms, (0, 0))
            hours[hour_ms] = (count + receipts, max(latest, last_ms))
    return [
        HourOfReceipts(from_unix_ms(hour_ms), count, from_unix_ms(last_ms))
        for hour_ms, (count, last_ms) in hours.items()
    ]


def _instant(ms: int | None) -> datetime | None:
    return None if ms is None else from_unix_ms(ms)
