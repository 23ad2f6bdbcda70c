"""All routes of the REST API under `/api/v1`, in the order of the API reference."""

from functools import cache

from fastapi import APIRouter

from api.rest.endpoints import (
    alert_destinations,
    audit,
    early_results,
    events,
    evidence,
    incidents,
    overview,
    project,
    sources,
    triage,
)
from api.rest.routing import add_route

ROUTES = (
    *events.ROUTES,
    *evidence.ROUTES,
    *incidents.ROUTES,
    *triage.ROUTES,
    *early_results.ROUTES,
    *overview.ROUTES,
    *sources.ROUTES,
    *alert_destinations.ROUTES,
    *project.ROUTES,
    *audit.ROUTES,
)


@cache
def rest_router() -> APIRouter:
    """The router with all routes. It holds nothing of an application."""
    router = APIRouter(prefix="/api/v1")
    for route in ROUTES:
        add_route(router, route)
    return router
