"""The JSON of saved views."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self
from urllib.parse import parse_qsl

from pydantic import Field

from domain.search import saved_views
from operations.responses.base import At, Response

ViewIdText = Annotated[str, Field(examples=["view_019ab01c2d3e7f4a8b5c6d7e8f901234"])]


class SavedView(Response):
    """A named search of the list of incidents. `q` and `sort` are those of `GET /incidents`."""

    id: ViewIdText
    name: str
    project_id: str | None = Field(description="Its members share the view. Null: private.")
    q: str | None
    state: str | None = Field(description="The tab of the console; null is Open.")
    sort: str | None = Field(description="Null is the order of the tab.")
    query: str = Field(description="The query of the list's address in the console, in full.")
    created_at: At

    @classmethod
    def of(cls, view: saved_views.SavedView) -> Self:
        chosen = dict(parse_qsl(view.query))
        fields = {name: chosen.get(name) for name in ("q", "state", "sort")}
        return cls.from_value(view, **fields)


class SavedViewList(Response):
    """The saved views of a project by name, in one page."""

    data: list[SavedView]
    has_more: Literal[False]
    next_cursor: None

    @classmethod
    def of(cls, views: Sequence[saved_views.SavedView]) -> Self:
        data = [SavedView.of(view) for view in views]
        return cls(data=data, has_more=False, next_cursor=None)


class RemovedView(Response):
    """A saved view that was removed."""

    id: ViewIdText
    removed: Literal[True]

    @classmethod
    def of(cls, view: saved_views.SavedView) -> Self:
        return cls(id=view.id, removed=True)
