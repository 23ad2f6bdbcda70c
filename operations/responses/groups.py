"""The JSON of groups of incidents."""

from typing import Self

from pydantic import Field

from domain.groups import group as groups
from domain.groups.group import GroupState
from domain.incidents import Reason
from operations.groups.groups import GroupAct as StoredAct
from operations.responses.base import At, GroupIdText, OrNewer, Response
from store.db.paging import Page


class GroupCounts(Response):
    """The number of a group's incidents in each state."""

    open: int
    repairing: int
    resolved: int


class GroupFields(Response):
    """The fields of every group."""

    id: GroupIdText
    state: OrNewer[GroupState]
    effect_type: str
    reason: OrNewer[Reason]
    error_code: str | None
    first_at: At
    last_at: At
    counts: GroupCounts
    amounts: dict[str, int] = Field(
        description="Sums of the amounts of all its incidents, in the minor unit, by currency."
    )
    muted_until: At | None

    @classmethod
    def from_group(cls, group: groups.Group, **fields: object) -> Self:
        return cls.from_value(
            group,
            counts=GroupCounts.from_value(group.counts),
            amounts=dict(group.amounts),
            **fields,
        )


class Group(GroupFields):
    """Incidents of one cause that opened one soon after the other."""

    @classmethod
    def of(cls, group: groups.Group) -> Self:
        return cls.from_group(group)


class GroupAct(GroupFields):
    """A group after an act on its incidents.

    `changed` is their number. If `complete` is false, some are left: the same call goes on there.
    """

    changed: int
    complete: bool

    @classmethod
    def of(cls, act: StoredAct) -> Self:
        return cls.from_group(act.group, changed=act.changed, complete=act.complete)


class GroupList(Response):
    """A page of groups, the one with the newest incident first."""

    data: list[Group]
    has_more: bool
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[groups.Group]) -> Self:
        return cls.from_value(
            page,
            data=[Group.of(group) for group in page.rows],
            has_more=page.next_cursor is not None,
        )
