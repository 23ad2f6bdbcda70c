"""Registers the search attributes that people filter by in Temporal, as many as the namespace takes.

They serve search alone. Each may be missing: taken with another type, beyond the namespace's limit, or not ours to register.
The gateway then starts runs without it, and the worker's heartbeat names it. Called by `worker.temporal.connect`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from worker.temporal.problems import RPC_SECONDS, reason_of

KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
# In the order in which they are registered where not all of them can be.
SEARCH_ATTRIBUTES: Mapping[str, "IndexedValueType.ValueType"] = {
    "MgState": KEYWORD,
    "MgIncidentId": KEYWORD,
    "MgProject": KEYWORD,
    "MgDeadline": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    "MgProviderEventId": KEYWORD,
    "MgEventType": KEYWORD,
    "MgMode": KEYWORD,
    "MgProvider": KEYWORD,
    "MgEffect": KEYWORD,
}

# Each further call would only wait as long again.
_AWAY = {RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Registered:
    """The attributes that may be written; `missing` says for each of the others why not."""

    names: frozenset[str] = frozenset(SEARCH_ATTRIBUTES)
    missing: Mapping[str, str] = field(default_factory=dict)


ALL, NOTHING = Registered(), Registered(frozenset())


async def register_search_attributes(client: Client, described: DescribeNamespaceResponse) -> Registered:
    """Register what is missing; what there is afterwards. Raises nothing: a worker works without any of them."""
    found, reason = await _list(client)
    if found is None:
        return _judge(_aliases(described), {}, reason)
    refused: dict[str, str] = {}
    if wanted := [name for name in SEARCH_ATTRIBUTES if name not in found]:
        refused = await _add(client, wanted)
        # Another worker may have added them meanwhile, and Temporal takes a name that exists with another type without a word.
        found, reason = await _list(client)
    return _judge(found or {}, refused, reason)


async def _list(client: Client) -> tuple[dict[str, int] | None, str]:
    """The types of the namespace's own attributes by name; None, and why, where they cannot be listed."""
    request = ListSearchAttributesRequest(namespace=client.namespace)
    try:
        listed = await client.operator_service.list_search_attributes(request, timeout=RPC_SECONDS)
    except RPCError as error:
        return None, f"the namespace does not list it ({reason_of(error)})"
    return dict(listed.custom_attributes), "not registered"


async def _add(client: Client, names: list[str]) -> dict[str, str]:
    """Why each of those that were refused was refused: all in one call, or, when that is refused, one by one."""
    refusal = await _add_together(client, names)
    if refusal is None:
        log.info("search_attributes_registered", names=sorted(names))
        return {}
    if refusal.status in _AWAY:
        return dict.fromkeys(names, reason_of(refusal))
    refusals = {name: await _add_together(client, [name]) for name in names}
    return {name: reason_of(error) for name, error in refusals.items() if error is not None}


async def _add_together(client: Client, names: list[str]) -> RPCError | None:
    added = {name: SEARCH_ATTRIBUTES[name] for name in names}
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=added)
    try:
        await client.operator_service.add_search_attributes(request, timeout=RPC_SECONDS)
    except RPCError as error:
        return error
    return None


def _aliases(described: DescribeNamespaceResponse) -> dict[str, int]:
    """What the namespace says where the operator service is not exposed, as on Temporal Cloud: `MgState` is `Keyword01`."""
    types = {"Keyword": KEYWORD, "Datetime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME}
    aliases = described.config.custom_search_attribute_aliases
    return {alias: int(types.get(column.rstrip("0123456789"), 0)) for column, alias in aliases.items()}


def _judge(found: Mapping[str, int], refused: Mapping[str, str], reason: str) -> Registered:
    missing: dict[str, str] = {}
    for name, wanted in SEARCH_ATTRIBUTES.items():
        if name not in found:
            missing[name] = refused.get(name, reason)
        elif found[name] != wanted:
            kind = _type_name(found[name])
            missing[name] = f"it is registered as {kind}, and {_type_name(wanted)} is needed"
    return Registered(frozenset(SEARCH_ATTRIBUTES) - frozenset(missing), missing)


def _type_name(value: int) -> str:
    names = {int(number): str(name) for name, number in IndexedValueType.items()}
    return names.get(value, "another type").removeprefix("INDEXED_VALUE_TYPE_").capitalize()
