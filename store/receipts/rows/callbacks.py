"""Reads the callback of one repair: its body, each attempt with its headers, and the answer.

Event pages and lists leave these texts out, because they are long. Called by `operations.events`.
"""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, ReplayId
from domain.incidents import RepairCallback, SentCallback
from store.receipts.rows.details import ATTEMPTS_SHOWN
from store.schema.mappers import attempt_from, headers_from, repair_from
from store.schema.tables import ATTEMPTS, REPAIRS


async def read_callback(
    session: AsyncSession, event_id: EventId, replay_id: ReplayId
) -> RepairCallback | None:
    """The callback of a repair with its newest attempts, oldest first; None when the event has no
    such repair.
    """
    wanted = select(REPAIRS).where(REPAIRS.c.event_id == event_id, REPAIRS.c.replay_id == replay_id)
    row = (await session.execute(wanted)).first()
    if row is None:
        return None
    newest = select(ATTEMPTS).where(ATTEMPTS.c.replay_id == replay_id)
    newest = newest.order_by(ATTEMPTS.c.number.desc()).limit(ATTEMPTS_SHOWN)
    rows = reversed((await session.execute(newest)).all())
    sent = tuple(SentCallback(attempt_from(one), headers_from(one.request_headers)) for one in rows)
    repair = repair_from(row, attempts=[one.attempt for one in sent])
    return RepairCallback(repair, row.callback_body, sent)
