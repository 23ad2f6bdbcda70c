"""REST for operators and machines under `/api/v1`: routes only. What they do is `api.operations`; who may, `api.auth`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from api.answers import (
    Accepted,
    Event,
    EventList,
    FullEvent,
    Incident,
    IncidentList,
    Project,
    RepairRequested,
    problem_responses,
)
from api.auth import Gate
from api.dependencies import caller_with, json_body
from api.operations import DEFAULT_LIMIT, MAXIMUM_LIMIT, ListFilters, Operations
from api.project_changes import ProjectPatch
from api.schemas import Instant, ResolveBody, validated
from domain.errors import Code
from domain.incidents import IncidentState
from domain.projects import AuthenticatedKey, Scope
from domain.receipts import EffectType, EventType, Provider, ReceiptState
