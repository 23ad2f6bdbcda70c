"""Fills a store with a year of receipts for the measurement of lists, in set-based statements.

1. Twenty projects; one has 60 % of the receipts.
2. 95 % are applied; the others wait, have an open incident, are recovered or closed.
3. One in seven incidents was acknowledged, one in 13 is assigned to the same person. Each project
   has a hundred groups of them. One is muted; the mutes of ten are over.
4. Event types are as frequent as in practice: disputes are one in a thousand, one type never comes.
5. Two thirds of the references are of one receipt; the others are subscriptions of about 20.
"""

from dataclasses import dataclass

from sqlalchemy import text

from domain.ids import ProjectId
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.lists.search_index import index_batch, projects_behind

PROJECTS = 20
ROWS_AT_ONCE = 50_000
YEAR_MS = 365 * 24 * 3_600_000
ASSIGNEE = "ops@example.test"
MUTED_MS = 3_600_000
# One of the largest project; the muted one ends with 7.
GROUP = "grp_prj_00_8"
_NUMBERS = {
    "sqlite": (
        "WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :last)"
        " SELECT i FROM n"
    ),
    "postgresql": (
        "SELECT i FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint) - 1) AS n(i)"
    ),
}
# Hexadecimal digits of a number, 12 of them; and 24 that look random.
_HEX = {"sqlite": "printf('%012x', {0})", "postgresql": "lpad(to_hex({0}), 12, '0')"}
_RANDOM = {
    "sqlite": "lower(hex(randomblob(12)))",
    "postgresql": "left(md5(i::text || 'provider'), 24)",
}
_YES = {"sqlite": "1", "postgresql": "true"}
# A number that looks random, below 10,000; each use has a factor of its own.
_DRAW = "((i * {0} + i / 7) % 10000)"
_PROJECT = (
    "CASE WHEN p < 6000 THEN 'prj_00' ELSE 'prj_' || CASE WHEN p % 19 < 9 THEN '0' ELSE '' END"
    " || (1 + p % 19) END"
)
_STATE = (
    "CASE WHEN i > {receipts} * 0.99 AND s < 9000 THEN 'waiting' WHEN s < 30 THEN 'incident'"
    " WHEN s < 330 THEN 'recovered' WHEN s < 400 THEN 'closed' ELSE 'applied' END"
)
_TYPE = (
    "CASE WHEN t < 10 THEN 'charge.dispute.created' WHEN t < 200 THEN 'charge.refunded'"
    " WHEN t < 500 THEN 'customer.subscription.deleted' WHEN t < 700 THEN 'customers/create'"
    " WHEN t < 1500 THEN 'orders/fulfilled' WHEN t < 3000 THEN 'orders/paid'"
    " WHEN t < 4500 THEN 'customer.subscription.updated'"
    " WHEN t < 6500 THEN 'checkout.session.completed' ELSE 'invoice.paid' END"
)
_EFFECT = (
    "CASE WHEN t < 10 THEN 'credit_deduction' WHEN t < 500 THEN 'access_revocation'"
    " WHEN t < 1500 THEN 'credit_grant' WHEN t < 3000 THEN 'access_unlock'"
    " WHEN t < 4500 THEN 'subscription_state_apply' WHEN t < 5000 THEN 'seat_update'"
    " ELSE 'access_unlock' END"
)
# The `i` of a stored receipt: the same in each fill, unlike the instants.
NUMBER = "CAST(substr(request_id, 5) AS integer)"
_REFERENCE = (
    "CASE WHEN i % 3 = 0 THEN 'sub_' || ((i * 31) % (1 + {receipts} / 60))"
    " ELSE 'order-' || (10000000 + i) END"
)
_RECEIPTS = """
INSERT INTO receipts (event_id, project_id, livemode, state, provider, provider_event_id,
  stripe_event_id, event_type, effect_type, internal_reference, occurred_at, accepted_at,
  timeout_at, deadline_at, ended_at, flags, request_id, amount, currency, customer_reference)
SELECT 'evt_' || {at} || '70000000' || {number}, {project}, {yes}, state,
  CASE WHEN type LIKE '%/%' THEN 'shopify' ELSE 'stripe' END,
  'evt_' || {random}, NULL, type, {effect}, {reference}, at, at, at + 1800000, at + 1800000,
  CASE WHEN state IN ('waiting', 'incident') THEN NULL ELSE at + 60000 END,
  CASE WHEN i % 5003 = 0 THEN 'contradiction' ELSE '' END, 'req_' || i,
  CASE WHEN i % 3 = 0 THEN NULL ELSE (i * 7) % 100000 END,
  CASE WHEN i % 3 = 0 THEN NULL ELSE 'EUR' END, 'customer_' || (i / 7)
FROM (SELECT i, p, t, {state} AS state, {type} AS type,
    :from_ms + i * {step} AS at
  FROM (SELECT i, {draw_p} AS p, {draw_t} AS t, {draw_s} AS s FROM ({numbers}) AS n) AS drawn
) AS given"""
_INCIDENTS = """
INSERT INTO incidents (id, event_id, project_id, state, reason, error_code, error_message,
  opened_at, resolved_at, resolution, event_type, effect_type, amount, currency,
  customer_reference, deadline_at, sort_amount, acknowledged_at, acknowledged_until, snoozed_until,
  assignee, group_id)
SELECT 'inc_' || substr(event_id, 5), event_id, project_id,
  CASE WHEN state <> 'incident' THEN 'resolved' WHEN n % 5 = 0 THEN 'repairing'
    ELSE 'open' END,
  CASE WHEN n % 4 = 0 THEN 'missing_result' ELSE 'failed_result' END,
  CASE WHEN n % 4 = 0 THEN NULL WHEN n % 97 = 0 THEN 'seat_limit_reached'
    ELSE 'card_declined' END,
  CASE WHEN n % 4 = 0 THEN NULL
    ELSE 'The bank refused the card of ' || internal_reference END,
  accepted_at + 1800000, CASE WHEN state = 'incident' THEN NULL ELSE accepted_at + 3600000 END,
  CASE state WHEN 'closed' THEN 'manual' WHEN 'recovered' THEN 'repaired' END,
  event_type, effect_type, amount, currency, customer_reference, deadline_at,
  COALESCE(amount, -1), CASE WHEN n % 7 = 0 THEN accepted_at + 2400000 END,
  CASE WHEN n % 7 = 0 AND state = 'incident' THEN accepted_at + 16800000 END,
  CASE WHEN n % 11 = 0 AND state = 'incident' THEN accepted_at + 20000000 END,
  CASE WHEN n % 13 = 0 THEN 'usr_bench' WHEN n % 101 = 0 THEN 'usr_other' END,
  'grp_' || project_id || '_' || (n % 100)
FROM (SELECT receipts.*, {number_of_receipt} / 3 AS n FROM receipts
  WHERE state IN ('incident', 'recovered', 'closed')) AS drawn"""
_GROUPS = """
INSERT INTO incident_groups (id, project_id, effect_type, reason, error_code, takes_more, stage,
  first_at, last_at, open_count, repairing_count, resolved_count, muted_until)
SELECT group_id, project_id, 'access_unlock', 'failed_result', group_id, {yes}, 'unresolved',
  min(opened_at), max(opened_at), 1, 0, 0,
  CASE WHEN group_id LIKE '%/_7' ESCAPE '/' THEN :until WHEN group_id LIKE '%/_7_' ESCAPE '/'
    THEN max(opened_at) END
FROM incidents GROUP BY group_id, project_id"""
_PROJECTS = """
INSERT INTO projects (id, name, mode, repair_url_gone, timeout_minutes, late_result, snapshots,
  data_key, created_at)
VALUES (:id, :id, 'live', {no}, 30, 'resolve', {no}, :key, 0)"""
_USER = "INSERT INTO users (id, email, created_at) VALUES ('usr_bench', :email, 0)"
_NO = {"sqlite": "0", "postgresql": "false"}


@dataclass(frozen=True, slots=True)
class Filled:
    """The projects of a filled store, the largest first, and the instant of its first receipt."""

    projects: tuple[ProjectId, ...]
    from_ms: int


async def fill_lists(database: Database, receipts: int, *, is_analyzed: bool = True) -> Filled:
    """Insert the receipts, their incidents and the texts of the search index."""
    projects = tuple(ProjectId(f"prj_{number:02}") for number in range(PROJECTS))
    async with database.transaction() as session:
        now_ms = int((await database.now(session)).timestamp() * 1000)
        statement = text(_PROJECTS.format(no=_NO[database.dialect]))
        for project_id in projects:
            await session.execute(statement, {"id": project_id, "key": b""})
        await session.execute(text(_USER), {"email": ASSIGNEE})
    from_ms = now_ms - YEAR_MS
    statement = text(_receipts_of(database.dialect, receipts))
    for first in range(0, receipts, ROWS_AT_ONCE):
        last = min(first + ROWS_AT_ONCE, receipts)
        async with database.transaction() as session:
            await session.execute(statement, {"first": first, "last": last, "from_ms": from_ms})
    async with database.transaction() as session:
        await session.execute(text(_INCIDENTS.format(number_of_receipt=NUMBER)))
        groups = text(_GROUPS.format(yes=_YES[database.dialect]))
        await session.execute(groups, {"until": now_ms + MUTED_MS})
    await index_texts(database)
    if is_analyzed:
        async with database.transaction() as session:
            await session.execute(text("ANALYZE"))
    return Filled(projects, from_ms)


async def index_texts(database: Database) -> None:
    """Fill the search index as the worker does, in larger batches and without pauses."""
    async with database.reading() as session:
        now = await database.now(session)
        behind = await projects_behind(SessionStatements(session), now)
    for first in behind:
        progress = first
        while True:
            async with database.transaction() as session:
                done = await index_batch(SessionStatements(session), progress, now, limit=20_000)
            if done is None:
                break
            progress = done


def _receipts_of(dialect: str, receipts: int) -> str:
    step = max(1, YEAR_MS // receipts)
    return _RECEIPTS.format(
        at=_HEX[dialect].format("at"),
        number=_HEX[dialect].format("i"),
        project=_PROJECT,
        yes=_YES[dialect],
        random=_RANDOM[dialect],
        effect=_EFFECT,
        reference=_REFERENCE.format(receipts=receipts),
        state=_STATE.format(receipts=receipts),
        type=_TYPE,
        step=step,
        draw_p=_DRAW.format(7919),
        draw_t=_DRAW.format(6007),
        draw_s=_DRAW.format(3571),
        numbers=_NUMBERS[dialect],
    )
