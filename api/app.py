"""Builds the application from its dependencies: ingest, REST, health, reference and console.

The two POSTs of ingest and those of hooks bypass FastAPI. All others pass one middleware
(`api.middleware`). The lifespan starts the committer and the heartbeat before the first request,
and stops both in reverse order. The committer's start credits an outage to deadlines.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from functools import partial
from time import monotonic

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from api.auth.api_keys import ApiKeyCache, Authenticator
from api.auth.key_lookup import key_finder
from api.auth.rate_limit import RateLimit
from api.composition import AppDependencies
from api.console.base import Console
from api.console.composition import ConsoleDependencies
from api.console.error_pages import framed_problem_page, problem_page
from api.console.routes import console_router
from api.console.sign_in.oidc_provider import OidcProvider
from api.health.heartbeat import ApiHeartbeat
from api.health.routes import Health, health_router
from api.hooks.endpoint import PREFIX as HOOKS
from api.hooks.endpoint import HookEndpoint, HookParts
from api.hooks.health import HookHealth, health_recorder
from api.hooks.known_sources import KnownSources, source_finder
from api.http.compression import CompressionMiddleware
from api.http.metrics import Counts
from api.http.path_prefix import prefix_of, without_prefix
from api.http.problems import Problems
from api.http.security_headers import always
from api.ingest.endpoint import IngestEndpoint
from api.ingest.payload_encryption import PayloadEncryption
from api.ingest.schemas import parse_receipt, parse_result
from api.middleware import ErrorBoundaryMiddleware
from api.problem_handlers import add_problem_handlers
from api.rest.dependencies import RestContext
from api.rest.docs_pages import docs_router
from api.rest.routes import rest_router
from domain.ids import ProjectId
from operations.composition import Operations
from store.db.database import Database
from store.projects import data_keys

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class Application(FastAPI):
    """FastAPI, with the POSTs of ingest and of hooks dispatched before the framework."""

    def __init__(
        self,
        *,
        ingest: dict[str, IngestEndpoint],
        hook: HookEndpoint,
        path_prefix: str,
        lifespan: Lifespan,
    ) -> None:
        super().__init__(
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            lifespan=lifespan,
        )
        self.ingest = ingest
        self.hook = hook
        self.path_prefix = path_prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.path_prefix and scope["type"] == "http":
            scope = without_prefix(scope, self.path_prefix)
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        if is_post and (endpoint := self.ingest.get(scope["path"])) is not None:
            await endpoint(scope, receive, send)
        elif is_post and scope["path"].startswith(HOOKS):
            await self.hook(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(parts: AppDependencies, *, clock: Callable[[], float] = monotonic) -> FastAPI:
    """Build the application. Its lifespan must run before requests are served.

    `clock` is in seconds, for the key cache and the rate limit.
    """
    settings, counts, problems = parts.settings, Counts(), Problems(parts.settings.public_url)
    key_cache = ApiKeyCache(
        find_key=key_finder(parts.database), digests=parts.sealer.key_digests, clock=clock
    )
    limit = RateLimit(rate=settings.rate_limit, burst=settings.rate_burst, clock=clock)
    authenticator = Authenticator(keys=key_cache, limit=limit)
    sources = KnownSources(find=source_finder(parts.database, parts.sealer), clock=clock)
    hook_health = HookHealth(record=health_recorder(parts.database), clock=clock)
    operations = Operations.build(
        database=parts.database,
        sealer=parts.sealer,
        judge_repair_url=parts.judge_repair_url,
        on_project_change=partial(_forget, key_cache, sources),
        provider_check=parts.provider_check,
        send_trial=parts.send_trial,
        call_repair_url=parts.call_repair_url,
        on_source_change=sources.forget,
    )
    health = Health(database=parts.database)
    heartbeat = ApiHeartbeat(
        database=parts.database,
        key_cache=key_cache,
        accepted=lambda: counts.accepted_total,
        outage_seconds=settings.outage_seconds,
        sealer=parts.sealer,
    )
    console = Console(_console_dependencies(parts, operations, health, heartbeat.store_now))
    hook_parts = HookParts(
        sources=sources,
        health=hook_health,
        # Of its own: a flood of deliveries must not refuse the project's receipts.
        limit=RateLimit(rate=settings.rate_limit, burst=settings.rate_burst, clock=clock),
        store=parts.committer.hooks.accept,
        note_received=parts.committer.hooks.note_received,
        now=heartbeat.store_now,
    )
    app = Application(
        ingest=_ingest(parts, authenticator, problems, counts),
        hook=HookEndpoint(
            hook_parts, problems=problems, counts=counts, always=always(settings.public_url)
        ),
        path_prefix=prefix_of(settings.public_url),
        lifespan=_lifespan(parts, heartbeat, hook_health),
    )
    app.state.trusted_proxies = parts.settings.trusted_proxies
    app.state.shared = RestContext(operations=operations, authenticator=authenticator)
    routers = (
        health_router(
            health=health,
            authenticator=authenticator,
            counts=counts,
            is_metrics_open=settings.is_metrics_open,
        ),
        rest_router(),
        docs_router(settings.public_url),
        console_router(console),
    )
    # Each route is whole: FastAPI's `include_router` would build it a second time.
    routes = [route for router in routers for route in router.routes]
    app.router.routes.extend(routes)
    page = partial(problem_page, console.pages)
    framed_page = partial(framed_problem_page, console)
    add_problem_handlers(app, problems, counts, routes=routes, page=framed_page)
    app.add_middleware(CompressionMiddleware)
    # Added last, so it is the outer one.
    app.add_middleware(
        ErrorBoundaryMiddleware,
        ingest_paths=frozenset(app.ingest),
        hooks=HOOKS,
        problems=problems,
        counts=counts,
        always=always(settings.public_url),
        page=page,
    )
    return app


def _ingest(
    parts: AppDependencies, authenticator: Authenticator, problems: Problems, counts: Counts
) -> dict[str, IngestEndpoint]:
    """The two endpoints by each of their paths."""
    payload_encryption = PayloadEncryption(
        sealer=parts.sealer, read_data_key=_data_key_reader(parts.database)
    )
    make = partial(
        IngestEndpoint,
        authenticator=authenticator,
        commit=parts.committer.accept,
        count_unserved=parts.committer.count_unserved,
        payload_encryption=payload_encryption,
        problems=problems,
        counts=counts,
        always=always(parts.settings.public_url),
    )
    receipt = make("receipt", parse_value=parse_receipt)
    result = make("result", parse_value=parse_result)
    return {
        "/api/v1/receipt": receipt,
        "/v1/receipt": receipt,
        "/api/v1/result": result,
        "/v1/result": result,
    }


def _forget(key_cache: ApiKeyCache, sources: KnownSources, project_id: ProjectId) -> None:
    key_cache.forget(project_id)
    sources.forget_project(project_id)


def _lifespan(parts: AppDependencies, heartbeat: ApiHeartbeat, hook_health: HookHealth) -> Lifespan:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await parts.committer.start(outage_seconds=parts.settings.outage_seconds)
        await heartbeat.start()
        try:
            yield
        finally:
            await heartbeat.stop()
            await hook_health.stop()
            await parts.committer.stop()

    return lifespan


def _data_key_reader(database: Database) -> Callable[[ProjectId], Awaitable[bytes]]:
    async def read(project_id: ProjectId) -> bytes:
        async with database.key_lookup() as session:
            return await data_keys.read_data_key(session, project_id)

    return read


def _console_dependencies(
    parts: AppDependencies, operations: Operations, health: Health, now: Callable[[], datetime]
) -> ConsoleDependencies:
    return ConsoleDependencies(
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
        oidc_provider=_issuer(parts),
        callback_schedule_seconds=parts.settings.callback_schedule_seconds,
        examine=parts.examine,
    )


def _issuer(parts: AppDependencies) -> OidcProvider | None:
    if parts.settings.oidc is None or parts.issuer_transport is None:
        return None
    return OidcProvider(
        parts.settings.oidc,
        public_url=parts.settings.public_url,
        transport=parts.issuer_transport,
    )
