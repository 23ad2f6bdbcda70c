"""Connects to Temporal and prepares the namespace: its search attributes, retention and id.

Called by `worker.connection_loop` at each connection. Each time the search attributes are
registered again, because a Temporal that lost its database has lost them too. A worker needs only
the namespace: the rest is reported and omitted if refused.
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
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import KeepAliveConfig, RetryConfig, RPCError, RPCStatusCode, TLSConfig

from worker.temporal.failure_converter import SHORT_FAILURES
from worker.temporal.problems import (
    RPC_SECONDS,
    TemporalProblem,
    problem_of_call,
    problem_of_connection,
    reason_of,
)
from worker.temporal.search_attributes import Registered, register_search_attributes

RETENTION = timedelta(days=1)
CONNECT_SECONDS = 10.0
# Short, because a signal that cannot be sent now stays in the outbox.
RETRIES = RetryConfig(
    initial_interval_millis=50,
    max_interval_millis=500,
    max_elapsed_time_millis=2_000,
    max_retries=4,
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TemporalEndpoint:
    """The address of Temporal and how to connect to it. `tls` False: without encryption."""

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
    """A namespace that a worker can use. `missing` names what it works without, and why."""

    namespace_id: str
    registered: Registered
    missing: tuple[str, ...]


def quiet_runtime() -> Runtime:
    """A runtime that forwards the library's errors to our log.

    It drops the warnings that the library logs for each retry while Temporal is unavailable.
    """
    forwarded = LogForwardingConfig(logger=logging.getLogger("temporalio.core"))
    core_filter = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    return Runtime(
        telemetry=TelemetryConfig(logging=LoggingConfig(filter=core_filter, forwarding=forwarded))
    )


async def connect(endpoint: TemporalEndpoint, runtime: Runtime) -> Client:
    """Connect to Temporal. The client reconnects by itself.

    Raises:
        TemporalProblem: no connection was made within 10 s.
    """
    tls = TLSConfig(
        server_root_ca_cert=endpoint.ca_certificate,
        domain=endpoint.server_name,
        client_cert=endpoint.client_certificate,
        client_private_key=endpoint.client_key,
    )
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await Client.connect(
                endpoint.target,
                namespace=endpoint.namespace,
                identity=endpoint.identity,
                api_key=endpoint.api_key,
                tls=tls if endpoint.tls else False,
                retry_config=RETRIES,
                runtime=runtime,
                data_converter=SHORT_FAILURES,
                keep_alive_config=KeepAliveConfig(interval_millis=10_000, timeout_millis=5_000),
            )
    except (RuntimeError, TimeoutError) as error:
        raise TemporalProblem(problem_of_connection(error, endpoint.target)) from error


async def prepare_namespace(client: Client, *, is_ours: bool) -> Prepared:
    """Register what the namespace lacks, as far as it is permitted.

    `is_ours`: nothing else uses the namespace, so its retention may be shortened.

    Raises:
        TemporalProblem: the namespace can be neither described nor registered.
    """
    described = await _describe_or_register(client)
    missing = []
    if is_ours and (refused := await _shorten_retention(client, described)) is not None:
        missing.append(f"a retention of {RETENTION.days} day: {refused}")
    registered = await register_search_attributes(client, described)
    missing += [f"search attribute {name}: {why}" for name, why in registered.missing.items()]
    return Prepared(described.namespace_info.id, registered, tuple(missing))


async def read_namespace_id(client: Client) -> str:
    """The current id of the namespace.

    Raises:
        RPCError: Temporal does not answer, or has no such namespace.
    """
    request = DescribeNamespaceRequest(namespace=client.namespace)
    return (
        await client.workflow_service.describe_namespace(request, timeout=RPC_SECONDS)
    ).namespace_info.id


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
            log.warning(
                "namespace_not_registered", namespace=client.namespace, reason=reason_of(refusal)
            )
            raise TemporalProblem(problem_of_call(missing, "DescribeNamespace")) from refusal
    try:
        return await _describe(client)
    except RPCError as error:
        raise TemporalProblem(problem_of_call(error, "DescribeNamespace")) from error


async def _describe(client: Client) -> DescribeNamespaceResponse:
    request = DescribeNamespaceRequest(namespace=client.namespace)
    return await client.workflow_service.describe_namespace(
        request, retry=True, timeout=RPC_SECONDS
    )


async def _shorten_retention(client: Client, described: DescribeNamespaceResponse) -> str | None:
    """Shorten the retention of closed workflows; return why that was refused, else None.

    The lifecycle is in our own tables, and Temporal's disk fills fast.
    """
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
