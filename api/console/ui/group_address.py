"""The addresses of the list of groups and of the page of one. Pure.

The list shares its address with that of incidents: any filter or tab of that list, or `view=flat`,
selects the list of incidents.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

from api.console.ui.filters import LONGEST

LIST = "/incidents"
# By the name in the address: whether the groups have unresolved incidents, None for both.
STAGES: Mapping[str, bool | None] = {"unresolved": True, "resolved": False, "all": None}
FIRST_STAGE = "unresolved"
# htmx sends `seen`.
_NAMES = frozenset({"project", "stage", "cursor", "seen", "view"})


@dataclass(frozen=True, slots=True)
class GroupListAddress:
    """The address of a page of the list of groups. `project` None: those of all projects."""

    stage: str = FIRST_STAGE
    project: str | None = None
    cursor: str | None = None

    def __str__(self) -> str:
        query = {
            **({} if self.stage == FIRST_STAGE else {"stage": self.stage}),
            **({"project": self.project} if self.project else {}),
            **({"cursor": self.cursor} if self.cursor else {}),
        }
        return f"{LIST}?{urlencode(query)}" if query else LIST

    def with_stage(self, stage: str) -> str:
        return str(replace(self, stage=stage, cursor=None))

    def with_cursor(self, cursor: str | None) -> str:
        return str(replace(self, cursor=cursor))

    @property
    def flat(self) -> str:
        """The list of the same incidents one by one."""
        state = {} if self.stage == FIRST_STAGE else {"state": self.stage}
        project = {"project": self.project} if self.project else {}
        return f"{LIST}?{urlencode({'view': 'flat', **state, **project})}"


@dataclass(frozen=True, slots=True)
class GroupPageAddress:
    """The address of the page of a group, with a page of its incidents."""

    group_id: str
    cursor: str | None

    def __str__(self) -> str:
        path = f"/groups/{quote(self.group_id, safe='')}"
        return f"{path}?{urlencode({'cursor': self.cursor})}" if self.cursor else path

    def with_cursor(self, cursor: str | None) -> str:
        return str(replace(self, cursor=cursor))


def shows_groups(query: Mapping[str, str]) -> bool:
    """Whether an address of the list of incidents shows them by group."""
    return query.keys() <= _NAMES and query.get("view", "groups") == "groups"


def read_group_list_address(query: Mapping[str, str]) -> GroupListAddress:
    """Parse the address of the list. An unknown value is left out."""
    stage, project = query.get("stage", FIRST_STAGE), query.get("project", "").strip()
    is_known = 0 < len(project) <= LONGEST and "\0" not in project
    return GroupListAddress(
        stage if stage in STAGES else FIRST_STAGE,
        project if is_known else None,
        query.get("cursor") or None,
    )
