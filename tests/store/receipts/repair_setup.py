"""What the tests of repairs and attempts share: the alert address, and a project's repair URL."""

from domain.projects import ProjectChanges
from store.projects.projects import change_project
from tests.support.given import Story

OPS = "ops@shop.example"


async def set_repair_url(story: Story, repair_url: str | None) -> None:
    async with story.database.transaction() as session:
        await change_project(
            session, story.project.id, changes=ProjectChanges(repair_url=repair_url)
        )
