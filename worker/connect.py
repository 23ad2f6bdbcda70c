"""Connects to Temporal, and makes the namespace fit: search attributes, retention, the id that tells one database from another.

Called once at start by `worker.main`; the search attributes are registered at every start, since an engine whose database was
lost has forgotten them. Holds no policy of receipts.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    RegisterNamespaceRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import KeepAliveConfig, RetryConfig, RPCError, RPCStatusCode, TLSConfig

from worker.failures import SHORT_FAILURES

RETENTION = timedelta(days=1)
RPC_SECONDS = timedelta(seconds=3)
# Short: what cannot be told now stays in the outbox.
RETRIES = RetryConfig(initial_interval_millis=50, max_interval_millis=500, max_elapsed_time_millis=2_000, max_retries=4)
KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
SEARCH_ATTRIBUTES: Mapping[str, "IndexedValueType.ValueType"] = {
    "MgProject": KEYWORD,
    "MgMode": KEYWORD,
    "MgState": KEYWORD,
    "MgProvider": KEYWORD,
    "MgEventType": KEYWORD,
    "MgEffect": KEYWORD,
    "MgIncidentId": KEYWORD,
    "MgProviderEventId": KEYWORD,
    "MgDeadline": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
}

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


def quiet_runtime() -> Runtime:
    """The library's own log goes where ours goes, and without a line for each retry while the engine is away."""
    forwarded = LogForwardingConfig(logger=logging.getLogger("temporalio.core"))
    core_filter = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=core_filter, forwarding=forwarded)))


async def connect(engine: Engine, runtime: Runtime) -> Client:
    """A client of the engine; it reconnects by itself.

    Raises:
        RuntimeError: the engine cannot be reached.
    """
    tls = TLSConfig(
        server_root_ca_cert=engine.ca_certificate,
        domain=engine.server_name,
        client_cert=engine.client_certificate,
        client_private_key=engine.client_key,
    )
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


async def prepare_namespace(client: Client, *, is_ours: bool) -> str:
    """Make the namespace fit; its id, which another Temporal database does not have.

    `is_ours`: nothing else lives in it, so that its retention may be shortened.

    Raises:
        RPCError: the engine does not answer, or the search attributes are missing and may not be added.
    """
    described = await _describe_or_register(client)
    if is_ours:
        await _shorten_retention(client, described)
    await _register_search_attributes(client)
    return described.namespace_info.id


async def read_namespace_id(client: Client) -> str:
    """The id of the namespace now.

    Raises:
        RPCError: the engine does not answer, or has no such namespace.
    """
    request = DescribeNamespaceRequest(namespace=client.namespace)
    return (await client.workflow_service.describe_namespace(request, timeout=RPC_SECONDS)).namespace_info.id


async def _describe_or_register(client: Client) -> DescribeNamespaceResponse:
    service, request = client.workflow_service, DescribeNamespaceRequest(namespace=client.namespace)
    try:
        return await service.describe_namespace(request, retry=True, timeout=RPC_SECONDS)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    register = RegisterNamespaceRequest(namespace=client.namespace)
    register.workflow_execution_retention_period.FromTimedelta(RETENTION)
    try:
        await service.register_namespace(register, timeout=RPC_SECONDS)
        log.info("namespace_registered", namespace=client.namespace)
    except RPCError as refusal:
        if refusal.status is not RPCStatusCode.ALREADY_EXISTS:
            raise
    return await service.describe_namespace(request, retry=True, timeout=RPC_SECONDS)


async def _shorten_retention(client: Client, described: DescribeNamespaceResponse) -> None:
    """Temporal's copy is only for engineers: histories are kept in our own tables, and its disk fills fast."""
    if described.config.workflow_execution_retention_ttl.ToTimedelta() <= RETENTION:
        return
    update = UpdateNamespaceRequest(namespace=client.namespace)
    update.config.workflow_execution_retention_ttl.FromTimedelta(RETENTION)
    await client.workflow_service.update_namespace(update, timeout=RPC_SECONDS)
    log.info("namespace_retention_set", days=RETENTION.days)


async def _register_search_attributes(client: Client) -> None:
    missing = await _missing_search_attributes(client)
    if not missing:
        return
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
    try:
        await client.operator_service.add_search_attributes(request, timeout=RPC_SECONDS)
        log.info("search_attributes_registered", names=sorted(missing))
    except RPCError as error:
        # Another worker that started at the same moment has added them.
        if error.status is not RPCStatusCode.ALREADY_EXISTS and await _missing_search_attributes(client):
            log.error("search_attributes_missing", names=sorted(missing), status=error.status.name)
            raise


async def _missing_search_attributes(client: Client) -> dict[str, "IndexedValueType.ValueType"]:
    request = ListSearchAttributesRequest(namespace=client.namespace)
    found = await client.operator_service.list_search_attributes(request, retry=True, timeout=RPC_SECONDS)
    return {name: kind for name, kind in SEARCH_ATTRIBUTES.items() if name not in found.custom_attributes}
