"""Every action on a source has an audit entry, without any value of a person or provider."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from domain.audit import Actor
from domain.projects import CreatedProject
from domain.sources.source import Source
from operations.composition import Operations
from operations.responses.audit import AuditList
from store.audit.log import AuditFilters
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.schema.tables import SOURCES
from tests.api.conftest import Unwritable
from tests.api.serving import judge_shape
from tests.support.sources import stored_source

NADIA = Actor("usr_nadia", address="192.0.2.7", request_id="req_1")
NEW: dict[str, Any] = {
    "kind": "shopify_webhook",
    "name": "Nadia's secret shop",
    "signing_secret": "whsec_a-secret-of-nadia",
    "shop_domain": "nadia.myshopify.com",
    "expects": [
        {"event_type": "orders/paid", "effect_type": "access_unlock", "reference": "/nadia"}
    ],
}
CHANGES = {"name": "Nadia's", "signing_secret": "whsec_a-secret-of-nadia", "paused": True}

# Each action on a source that exists, and the details of its entry.
ACTS: dict[str, tuple[Callable[[Operations, Source], Awaitable[object]], object]] = {
    "source_added": (
        lambda o, s: o.sources.add_source(s.project_id, NEW, actor=NADIA),
        {"kind": "shopify_webhook", "expectations": 1},
    ),
    "source_changed": (
        lambda o, s: o.sources.change_source(s.project_id, s.id, CHANGES, actor=NADIA),
        {"fields": ["name", "secret", "paused"]},
    ),
    "source_checked": (
        lambda o, s: o.sources.check_source(s.project_id, s.id, actor=NADIA),
        {"ok": False},
    ),
    "source_removed": (
        lambda o, s: o.sources.remove_source(s.project_id, s.id, actor=NADIA),
        {},
    ),
}


@pytest.fixture
def operations(database: Database, sealer: Sealer) -> Operations:
    return Operations.build(database=database, sealer=sealer, judge_repair_url=judge_shape)


@pytest.fixture
async def source(database: Database, sealer: Sealer, project: CreatedProject) -> Source:
    return await stored_source(database, sealer, project.project.id)


@pytest.mark.parametrize("action", ACTS)
async def test_act_leaves_its_entry_without_any_value_of_a_person(
    operations: Operations, source: Source, action: str
) -> None:
    act, details = ACTS[action]

    done = await act(operations, source)

    log = AuditList.of(await operations.audit.list_audit(AuditFilters(project_id=None), limit=100))
    (entry,) = log.to_json()["data"]
    subject = done.id if isinstance(done, Source) else source.id
    assert (entry["action"], entry["subject_type"]) == (action, "source")
    assert (entry["subject_id"], entry["project_id"]) == (subject, source.project_id)
    assert (entry["actor"], entry["address"]) == ("usr_nadia", "192.0.2.7")
    assert entry["details"] == details
    assert "nadia" not in json.dumps(entry["details"]).lower()


@pytest.mark.parametrize("action", ACTS)
async def test_act_whose_entry_cannot_be_written_does_not_happen(
    operations: Operations,
    database: Database,
    source: Source,
    unwritable_log: Unwritable,
    action: str,
) -> None:
    async def rows() -> list[object]:
        async with database.reading() as session:
            return list((await session.execute(SOURCES.select())).all())

    before = await rows()

    async with unwritable_log():
        with pytest.raises(DBAPIError):
            await ACTS[action][0](operations, source)
        assert await rows() == before
