"""Connects to Temporal, and makes the namespace fit: search attributes, retention, the id that tells one database from another.

Called by `worker.connection_loop` at each connection; the search attributes are registered at each, since a Temporal whose
database was lost has forgotten them. A worker needs the namespace alone: what else is refused is named and done without.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    RegisterNamespaceRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import KeepAliveConfig, RetryConfig, RPCError, RPCStatusCode, TLSConfig

from worker.temporal.failure_converter import SHORT_FAILURES
from worker.temporal.problems import RPC_SECONDS, TemporalProblem, problem_of_call, problem_of_connection, reason_of
from worker.temporal.search_attributes import Registered, register_search_attributes

RETENTION = timedelta(days=1)
CONNECT_SECONDS = 10.0
# Short: what cannot be told now stays in the outbox.
RETRIES = RetryConfig(initial_interval_millis=50, max_interval_millis=500, max_elapsed_time_millis=2_000, max_retries=4)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """Where Temporal is, and how to speak to it. `tls` False: in the clear."""

    target: str
    namespace: str
    identity: str
    tls: bool = False
    server_name: str | None = None
    api_key: str | None = field(default=None, repr=False)
    ca_certificate: bytes | None = field(default=None, repr=False)
    client_certificate: bytes | None = field(default=None, repr=False)
    client_key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A namespace that a worker can work in; `missing` names what it works without, and why."""

    namespace_id: str
    registered: Registered
    missing: tuple[str, ...]


def quiet_runtime() -> Runtime:
    """The library's own log goes where ours goes, and without a line for each retry while the engine is away."""
    forwarded = LogForwardingConfig(logger=logging.getLogger("temporalio.core"))
    core_filter = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=core_filter, forwarding=forwarded)))


async def connect(engine: Engine, runtime: Runtime) -> Client:
    """A client of Temporal; it reconnects by itself.

    Raises:
        TemporalProblem: no connection was made within 10 s.
    """
    tls = TLSConfig(
        server_root_ca_cert=engine.ca_certificate,
        domain=engine.server_name,
        client_cert=engine.client_certificate,
        client_private_key=engine.client_key,
    )
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await Client.connect(
                engine.target,
                namespace=engine.namespace,
                identity=engine.identity,
                api_key=engine.api_key,
                tls=tls if engine.tls else False,
                retry_config=RETRIES,
                runtime=runtime,
                data_converter=SHORT_FAILURES,
                keep_alive_config=KeepAliveConfig(interval_millis=10_000, timeout_millis=5_000),
            )
    except (RuntimeError, TimeoutError) as error:
        raise TemporalProblem(problem_of_connection(error, engine.target)) from error


async def prepare_namespace(client: Client, *, is_ours: bool) -> Prepared:
    """Make the namespace fit, as far as it lets us.

    `is_ours`: nothing else lives in it, so that its retention may be shortened.

    Raises:
        TemporalProblem: there is no such namespace and it may not be registered, or we may not know.
    """
    described = await _describe_or_register(client)
    missing = []
    if is_ours and (refused := await _shorten_retention(client, described)) is not None:
        missing.append(f"a retention of {RETENTION.days} day: {refused}")
    registered = await register_search_attributes(client, described)
    missing += [f"search attribute {name}: {why}" for name, why in registered.missing.items()]
    return Prepared(described.namespace_info.id, registered, tuple(missing))


async def read_namespace_id(client: Client) -> str:
    """The id of the namespace now.

    Raises:
        RPCError: Temporal does not answer, or has no such namespace.
    """
    request = DescribeNamespaceRequest(namespace=client.namespace)
    return (await client.workflow_service.describe_namespace(request, timeout=RPC_SECONDS)).namespace_info.id


async def _describe_or_register(client: Client) -> DescribeNamespaceResponse:
    try:
        return await _describe(client)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise TemporalProblem(problem_of_call(error, "DescribeNamespace")) from error
        missing = error
    register = RegisterNamespaceRequest(namespace=client.namespace)
    register.workflow_execution_retention_period.FromTimedelta(RETENTION)
    try:
        await client.workflow_service.register_namespace(register, timeout=RPC_SECONDS)
        log.info("namespace_registered", namespace=client.namespace)
    except RPCError as refusal:
        if refusal.status is not RPCStatusCode.ALREADY_EXISTS:
            log.warning("namespace_not_registered", namespace=client.namespace, reason=reason_of(refusal))
            raise TemporalProblem(problem_of_call(missing, "DescribeNamespace")) from refusal
    try:
        return await _describe(client)
    except RPCError as error:
        raise TemporalProblem(problem_of_call(error, "DescribeNamespace")) from error


async def _describe(client: Client) -> DescribeNamespaceResponse:
    request = DescribeNamespaceRequest(namespace=client.namespace)
    return await client.workflow_service.describe_namespace(request, retry=True, timeout=RPC_SECONDS)


async def _shorten_retention(client: Client, described: DescribeNamespaceResponse) -> str | None:
    """Keep Temporal's copy short: histories are in our own tables, and its disk fills fast. Why that was refused, else None."""
    if described.config.workflow_execution_retention_ttl.ToTimedelta() <= RETENTION:
        return None
    update = UpdateNamespaceRequest(namespace=client.namespace)
    update.config.workflow_execution_retention_ttl.FromTimedelta(RETENTION)
    try:
        await client.workflow_service.update_namespace(update, timeout=RPC_SECONDS)
    except RPCError as error:
        return reason_of(error)
    log.info("namespace_retention_set", days=RETENTION.days)
    return None
