"""Connection problems are classified by cause, and a namespace is used as far as it permits."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from domain.temporal.problems import ProblemKind
from tests.support.processes import free_ports
from tests.support.waiting import wait_until_async
from worker.temporal.connect import TemporalEndpoint, connect, prepare_namespace, quiet_runtime
from worker.temporal.problems import TemporalProblem, problem_of_call
from worker.temporal.search_attributes import SEARCH_ATTRIBUTES


class Refusing:
    """A real client whose calls Temporal partly refuses. `named` is its namespace."""

    def __init__(
        self, client: Client, *refused: str, named: str | None = None, status: RPCStatusCode
    ) -> None:
        self._client, self._refused, self._status = client, refused, status
        self.namespace = named or client.namespace

    @property
    def workflow_service(self) -> Any:  # Any: replaces the library's own type
        return _Service(self._client.workflow_service, self._refused, self._status)

    @property
    def operator_service(self) -> Any:
        return _Service(self._client.operator_service, self._refused, self._status)


class _Service:
    def __init__(self, service: Any, refused: tuple[str, ...], status: RPCStatusCode) -> None:
        self._service, self._refused, self._status = service, refused, status

    def __getattr__(self, name: str) -> Any:
        if name not in self._refused:
            return getattr(self._service, name)

        async def refuse(*_: object, **__: object) -> None:
            raise RPCError("not permitted", self._status, b"")

        return refuse


def refusing(
    client: Client, *calls: str, named: str | None = None, status: str = "PERMISSION_DENIED"
) -> Client:
    made: Any = Refusing(client, *calls, named=named, status=RPCStatusCode[status])
    client_like: Client = made
    return client_like


@asynccontextmanager
async def plain_server() -> AsyncIterator[int]:
    """Answer any request like an HTTP server without TLS; yields the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def problem_at(target: str, *, tls: bool = False) -> ProblemKind:
    with pytest.raises(TemporalProblem) as raised:
        await connect(
            TemporalEndpoint(target=target, namespace="default", identity="tests", tls=tls),
            quiet_runtime(),
        )
    assert target in raised.value.problem.detail
    return raised.value.problem.kind


async def test_address_without_a_server_is_unreachable() -> None:
    assert await problem_at(f"127.0.0.1:{free_ports(1)[0]}") is ProblemKind.UNREACHABLE


async def test_server_without_tls_is_reported_as_a_tls_problem() -> None:
    async with plain_server() as port:
        assert await problem_at(f"127.0.0.1:{port}", tls=True) is ProblemKind.TLS


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("PERMISSION_DENIED", ProblemKind.UNAUTHORIZED),
        ("UNAUTHENTICATED", ProblemKind.UNAUTHORIZED),
        ("NOT_FOUND", ProblemKind.NAMESPACE_MISSING),
        ("UNAVAILABLE", ProblemKind.UNREACHABLE),
        ("DEADLINE_EXCEEDED", ProblemKind.UNREACHABLE),
        ("UNIMPLEMENTED", ProblemKind.FAILED),
    ],
)
def test_failed_calls_are_classified(status: str, kind: ProblemKind) -> None:
    error = RPCError("first line\nsecond", RPCStatusCode[status], b"")

    problem = problem_of_call(error, "DescribeNamespace")

    assert problem.kind is kind
    assert f"{status}: first line second" in problem.detail


async def test_missing_namespace_that_may_not_be_registered_is_reported(
    temporal: WorkflowEnvironment,
) -> None:
    client = refusing(temporal.client, "register_namespace", named="missing")

    with pytest.raises(TemporalProblem) as raised:
        await prepare_namespace(client, is_ours=True)

    assert raised.value.problem.kind is ProblemKind.NAMESPACE_MISSING
    assert "TEMPORAL_NAMESPACE" in raised.value.problem.fix


async def test_namespace_that_may_not_be_described_is_reported_as_unauthorized(
    temporal: WorkflowEnvironment,
) -> None:
    with pytest.raises(TemporalProblem) as raised:
        await prepare_namespace(refusing(temporal.client, "describe_namespace"), is_ours=True)

    assert raised.value.problem.kind is ProblemKind.UNAUTHORIZED
    assert "DescribeNamespace" in raised.value.problem.detail


@pytest.mark.parametrize("status", ["UNIMPLEMENTED", "PERMISSION_DENIED", "UNAVAILABLE"])
async def test_without_the_operator_service_attributes_are_known_by_their_aliases(
    status: str, temporal: WorkflowEnvironment
) -> None:
    before = await prepare_namespace(temporal.client, is_ours=True)
    client = refusing(
        temporal.client, "list_search_attributes", "add_search_attributes", status=status
    )

    prepared = await prepare_namespace(client, is_ours=True)

    assert before.registered.names == prepared.registered.names == frozenset(SEARCH_ATTRIBUTES)
    assert prepared.missing == ()


async def test_namespace_that_accepts_no_attribute_is_used_without_any(
    temporal: WorkflowEnvironment,
) -> None:
    name = f"bare-{secrets.token_hex(4)}"
    client = refusing(temporal.client, "add_search_attributes", "update_namespace", named=name)

    async def is_prepared() -> bool:
        return bool((await prepare_namespace(client, is_ours=True)).namespace_id)

    await wait_until_async(is_prepared, what="a namespace")
    prepared = await prepare_namespace(client, is_ours=True)

    assert prepared.registered.names == frozenset()
    assert {line.partition(":")[0] for line in prepared.missing} == {
        f"search attribute {one}" for one in SEARCH_ATTRIBUTES
    }
    assert all(
        "PERMISSION_DENIED" in line or "does not list it" in line for line in prepared.missing
    )


async def test_retention_that_may_not_be_shortened_is_reported(
    temporal: WorkflowEnvironment,
) -> None:
    register = RegisterNamespaceRequest(namespace=(name := f"long-{secrets.token_hex(4)}"))
    register.workflow_execution_retention_period.FromSeconds(3 * 86_400)
    await temporal.client.workflow_service.register_namespace(register)

    prepared = await prepare_namespace(
        refusing(temporal.client, "update_namespace", named=name), is_ours=True
    )

    assert "a retention of 1 day: PERMISSION_DENIED: not permitted" in prepared.missing
