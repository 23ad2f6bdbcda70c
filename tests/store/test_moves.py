"""What results and deadlines do to a stored receipt, on both engines: the contract's "Life of a receipt", clause by clause."""

import asyncio
from datetime import timedelta

import pytest

from domain.errors import NotFound
from domain.ids import EventId, ReplayId, ResultId
from domain.lifecycle import Happening, IllegalMove, Position, move
from domain.projects import CreatedProject, ProjectChanges
from domain.receipts import Flag, ReceiptState
from domain.results import LateResult
from store.database import Database
from store.moves import (
    Happening as _Happening,  # noqa: F401 - the store asks the same table
)
from store.moves import NotYet, Opened, Settled, credit_outage, open_incident, result_is_stored
from store.repairs import SeriesOver, begin_attempt, fail_overdue_repair, record_attempt, request_repair
from store.requests import acknowledge, expire, resolve_by_hand
from tests.given import OPERATOR, START, Story


@pytest.fixture
def story(database: Database, project: CreatedProject) -> Story:
    return Story(database, project.project)
