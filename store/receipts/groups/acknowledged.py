"""Whether somebody looks into all incidents of a group."""

from domain.ids import GroupId
from store.db.sql import Statements
from store.receipts.groups.counts import lock_group

# By `incidents_by_group`.
_WAITING = """
SELECT 1 FROM incidents WHERE group_id = $1 AND state IN ('open', 'repairing')
  AND acknowledged_at IS NULL LIMIT 1"""


async def is_acknowledged(st: Statements, group_id: GroupId | None) -> bool:
    """Whether each unresolved incident of the group is acknowledged. True without a group.

    The group's row is locked until the transaction ends: of two that acknowledge the last ones, the
    second sees the first.
    """
    if group_id is None:
        return True
    await lock_group(st, group_id)
    return not await st.fetch(_WAITING, group_id)
