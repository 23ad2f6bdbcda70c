"""Deletes the project of a story, and counts the rows that are left of it."""

from datetime import timedelta

from domain.ids import EventId
from store.projects import deletion as deleting
from store.schema import tables
from tests.support.given import START, Story

LATER = START + timedelta(days=1)


async def rows_left(story: Story, project_id: str, event_ids: list[EventId]) -> dict[str, int]:
    """How many rows of the project each table has."""
    left = {}
    async with story.database.reading() as session:
        for name, table in tables.Project.metadata.tables.items():
            if "event_id" in table.c:
                wanted = table.c.event_id.in_(event_ids)
            elif "project_id" in table.c:
                wanted = table.c.project_id == project_id
            else:
                continue
            left[name] = len((await session.execute(table.select().where(wanted))).all())
    return left


async def delete(story: Story, *, end_open: bool = True) -> int:
    async with story.database.transaction() as session:
        return await deleting.delete_project(
            session, story.project.id, end_open=end_open, now=LATER
        )
