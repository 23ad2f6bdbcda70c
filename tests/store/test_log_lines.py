"""Each failure that the store logs is one line, with its cause as fields."""

from pathlib import Path

import pytest
from sqlalchemy import text

from domain.errors import Unavailable
from domain.ids import ProjectId
from domain.projects import CreatedProject
from store.db.database import Clock, Database
from store.ingest.connection import open_ingest_connection
from store.ingest.group_commit import Committer
from store.ingest.requests import IngestRequest
from store.receipts import outbox
from tests.support.given import Story, new_receipt
from tests.support.log_lines import written_lines
from tests.support.waiting import wait_until_async


def request(project_id: ProjectId, **changes: object) -> IngestRequest:
    receipt = new_receipt(project_id, **changes)
    return IngestRequest(project_id, "receipt", "key", "fingerprint", receipt, lambda _: b"{}")


async def test_request_that_is_not_stored_is_logged_with_its_traceback(
    database: Database, project: CreatedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer = Committer(open_ingest_connection(database.url), database.clock)
    with written_lines(monkeypatch) as read_lines:
        await committer.start()
        with pytest.raises(Exception, match="surrogate"):
            await committer.accept(request(project.project.id, internal_reference="\ud800"))
        await committer.stop()
        (line,) = read_lines("request_not_stored")

    assert (line["level"], line["role"]) == ("error", "api")
    assert line["error"] in line["exception"]
    assert "surrogate" in line["exception"]


async def test_commit_and_heartbeat_that_fail_are_logged_with_their_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'no such directory' / 'x.db'}"
    committer = Committer(open_ingest_connection(url), Clock())
    with written_lines(monkeypatch) as read_lines:
        await committer.start(outage_seconds=1)
        with pytest.raises(Unavailable):
            await committer.accept(request(ProjectId("prj_1")))
        await wait_until_async(
            lambda: read_lines("ingest_heartbeat_missing"), what="the heartbeat is missing"
        )
        await committer.stop()
        commits, heartbeats = read_lines("commit_failed"), read_lines("ingest_heartbeat_missing")

    assert [(line["level"], line["requests"]) for line in commits] == [("warning", 1)]
    assert all(line["error"].endswith("Error") for line in commits)
    assert [line["level"] for line in heartbeats] == ["warning"]
    assert heartbeats[0]["reason"].endswith("Error")


async def test_store_that_is_unavailable_is_logged_with_the_setting_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "makegood.db"
    path.write_text("not a database at all\n" * 100)
    database = Database.open(f"sqlite:///{path}")
    with written_lines(monkeypatch) as read_lines:
        with pytest.raises(Unavailable):
            async with database.reading():
                pass
        (line,) = read_lines("store_unavailable")
    await database.close()

    assert line["level"] == "warning"
    assert "file is not a database" in line["reason"]
    assert "MAKEGOOD_DATABASE_URL" in line["fix"]


async def test_outbox_row_that_cannot_be_read_is_logged_with_its_event(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = await story.receipt()
    async with story.database.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO outbox (event_id, kind, fields, created_at)"
                " VALUES (:event_id, 'result', '[', 0)"
            ),
            {"event_id": event_id},
        )

    with written_lines(monkeypatch) as read_lines:
        async with story.database.transaction() as session:
            claimed = await outbox.claim(session, story.at, limit=10)
        (line,) = read_lines("outbox_rows_unreadable")

    assert claimed == []
    assert (line["level"], line["event_ids"]) == ("error", [event_id])
