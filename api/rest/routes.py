"""All routes of the REST API under `/api/v1`, in the order of the API reference."""

from functools import cache

from fastapi import APIRouter

from api.rest.endpoints import (
    alert_destinations,
    audit,
    bulk_repairs,
    early_results,
    events,
    evidence,
    groups,
    holds,
    incidents,
    overview,
    project,
    repair_rules,
    sources,
    triage,
    views,
)
from api.rest.routing import add_route

ROUTES = (
    *events.ROUTES,
    *evidence.ROUTES,
    *incidents.ROUTES,
    *triage.ROUTES,
    *views.ROUTES,
    *groups.ROUTES,
    *bulk_repairs.ROUTES,
    *holds.ROUTES,
    *early_results.ROUTES,
    *overview.ROUTES,
    *sources.ROUTES,
    *alert_destinations.ROUTES,
    *project.ROUTES,
    *repair_rules.ROUTES,
    *audit.ROUTES,
)


@cache
def rest_router() -> APIRouter:
    """The router with all routes. It holds nothing of an application."""
    router = APIRouter(prefix="/api/v1")
    for route in ROUTES:
        add_route(router, route)
    return router
