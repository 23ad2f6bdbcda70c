"""Builds the application from injected parts: the two POSTs ahead of everything, REST, health, reference, console.

The lifespan starts the committer and the heartbeat, which credits an outage, before the first request, and ends both in order.
There is no framework middleware but the edge, and nothing of FastAPI's in the way of a receipt.
"""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from functools import partial
from time import monotonic

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from api.auth.api_keys import ApiKeyCache, Authenticator, Digests, FindKey, is_in_force
from api.auth.rate_limit import RateLimit
from api.composition import AppDependencies
from api.console.composition import ConsoleParts
from api.console.routes import console_router
from api.console.sign_in.oidc_provider import OidcProvider
from api.health.heartbeat import ApiHeartbeat
from api.health.routes import Health, health_router
from api.http.metrics import Counts
from api.http.problems import Header, Problems, headers_of, status_of
from api.http.request_headers import problem_type
from api.http.security_headers import always
from api.ingest.endpoint import Ingest
from api.ingest.payload_encryption import Snapshots
from api.ingest.schemas import receipt_of, result_of
from api.middleware import ErrorBoundaryMiddleware
from api.rest.dependencies import Shared
from api.rest.docs_pages import reference_router
from api.rest.openapi import document
from api.rest.routes import manage_router
from domain.errors import Code, NotFound, Refusal, ValidationFailed
from domain.ids import ProjectId
from domain.projects import AuthenticatedKey
from operations.incidents import Operations
from operations.validation import field_error
from store.db.database import Database
from store.projects import api_keys as keys
from store.projects import data_keys

# Full collections stop the process for 50 to 100 ms: let them be rare, and over what requests left behind alone.
GC_THRESHOLDS = (50_000, 20, 100)


class Application(FastAPI):
    """FastAPI, with the two POSTs taken out before anything of the framework runs."""

    def __init__(self, *, ingest: dict[str, Ingest], lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> None:
        super().__init__(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
        self.ingest = ingest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and (endpoint := self.ingest.get(scope["path"])) is not None:
            await endpoint(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(parts: AppDependencies, *, clock: Callable[[], float] = monotonic) -> FastAPI:
    """The application on these parts; whoever runs it must run its lifespan. `clock` (s): for keys and rates."""
    settings, counts, problems = parts.settings, Counts(), Problems(parts.settings.public_url)
    key_ring = ApiKeyCache(find_key=key_finder(parts.database), digests=parts.sealer.key_digests, clock=clock)
    gate = Authenticator(keys=key_ring, limit=RateLimit(rate=settings.rate_limit, burst=settings.rate_burst, clock=clock))
    operations = Operations(database=parts.database, sealer=parts.sealer, judge_repair_url=parts.judge_repair_url)
    operations.call_on_change(key_ring.forget)
    health = Health(database=parts.database)
    pulse = ApiHeartbeat(
        database=parts.database,
        key_ring=key_ring,
        accepted=lambda: counts.accepted_total,
        outage_seconds=settings.outage_seconds,
        sealer=parts.sealer,
    )
    app = Application(ingest=_ingest(parts, gate, problems, counts), lifespan=_lifespan(parts, pulse))
    app.state.trusted_proxies = parts.settings.trusted_proxies
    app.state.shared = Shared(operations=operations, gate=gate)
    routers = (
        health_router(health=health, gate=gate, counts=counts, is_metrics_open=settings.is_metrics_open),
        manage_router(),
        reference_router(document()),
        console_router(_console_parts(parts, operations, health, pulse.store_now)),
    )
    for router in routers:
        app.include_router(router)
    _answer_in_one_shape(app, problems, counts, routes=[route for router in routers for route in router.routes])
    app.add_middleware(
        ErrorBoundaryMiddleware,
        ingest_paths=frozenset(app.ingest),
        problems=problems,
        counts=counts,
        always=always(settings.public_url),
    )
    return app


def tune_garbage_collection() -> None:
    """Freeze what start-up made, and collect rarely from here on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _ingest(parts: AppDependencies, gate: Authenticator, problems: Problems, counts: Counts) -> dict[str, Ingest]:
    """The two endpoints by every path that they are served at."""
    snapshots = Snapshots(sealer=parts.sealer, read_data_key=_data_key_reader(parts.database))
    make = partial(
        Ingest,
        gate=gate,
        commit=parts.committer.accept,
        count_unserved=parts.committer.count_unserved,
        snapshots=snapshots,
        problems=problems,
        counts=counts,
        always=always(parts.settings.public_url),
    )
    receipt, result = make("receipt", read_value=receipt_of), make("result", read_value=result_of)
    return {"/api/v1/receipt": receipt, "/v1/receipt": receipt, "/api/v1/result": result, "/v1/result": result}


def _lifespan(parts: AppDependencies, pulse: ApiHeartbeat) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await parts.committer.start(outage_seconds=parts.settings.outage_seconds)
        await pulse.start()
        tune_garbage_collection()
        try:
            yield
        finally:
            await pulse.stop()
            await parts.committer.stop()

    return lifespan


def key_finder(database: Database) -> FindKey:
    """What a key ring asks of the store."""

    async def find(digests: Digests) -> AuthenticatedKey | None:
        async with database.key_lookup() as session:
            caller = await keys.find_key(session, *digests)
            return caller if caller is not None and is_in_force(caller, await database.now(session)) else None

    return find


def _data_key_reader(database: Database) -> Callable[[ProjectId], Awaitable[bytes]]:
    async def read(project_id: ProjectId) -> bytes:
        async with database.key_lookup() as session:
            return await data_keys.read_data_key(session, project_id)

    return read


def _console_parts(parts: AppDependencies, operations: Operations, health: Health, now: Callable[[], datetime]) -> ConsoleParts:
    return ConsoleParts(
        operations=operations,
        database=parts.database,
        sealer=parts.sealer,
        secret_key=parts.settings.secret_key,
        previous_secret_key=parts.settings.previous_secret_key,
        public_url=parts.settings.public_url,
        temporal_ui_url=parts.settings.temporal_ui_url,
        temporal_namespace=parts.settings.temporal_namespace,
        mailbox_path=parts.settings.mailbox_path,
        readiness=health.readiness,
        now=now,
        trusted_proxies=parts.settings.trusted_proxies,
        issuer=_issuer(parts),
    )


def _issuer(parts: AppDependencies) -> OidcProvider | None:
    if parts.settings.oidc is None or parts.issuer_transport is None:
        return None
    return OidcProvider(parts.settings.oidc, public_url=parts.settings.public_url, transport=parts.issuer_transport)


def _answer_in_one_shape(app: FastAPI, problems: Problems, counts: Counts, *, routes: Sequence[BaseRoute]) -> None:
    """Refusals and the framework's own errors as problem documents. What nobody expected is the edge's."""

    def problem(request: Request, refusal: Refusal) -> Response:
        body = problems.body_of(refusal, request_id=request.state.request_id)
        return answer(request, refusal.code, body, headers_of(refusal))

    def answer(request: Request, code: Code, body: bytes, headers: list[Header]) -> Response:
        counts.refused["other", code.value] += 1
        accept = request.headers.get("accept")
        response = Response(body, status_code=status_of(code))
        response.raw_headers.append((b"content-type", problem_type(None if accept is None else accept.encode("latin-1"))))
        response.raw_headers.extend(headers)
        return response

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        return problem(request, refusal)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # The first step of each place is "query" or "path".
        return problem(request, ValidationFailed(errors=tuple(field_error(one, skip=1) for one in error.errors())))

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Response:
        if error.status_code != 405:
            return problem(request, NotFound("There is nothing at this address."))
        detail = "This address does not take that method."
        body = problems.body(Code.METHOD_NOT_ALLOWED, request_id=request.state.request_id, detail=detail)
        return answer(request, Code.METHOD_NOT_ALLOWED, body, [(b"allow", _methods_at(routes, request).encode())])


def _methods_at(routes: Sequence[BaseRoute], request: Request) -> str:
    """Every method that some route takes at this address; the framework names those of the first route alone."""
    here = (route for route in routes if isinstance(route, APIRoute) and route.path_regex.match(request.url.path))
    return ", ".join(sorted({method for route in here for method in route.methods or ()}))
