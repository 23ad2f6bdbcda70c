"""Registers the search attributes of receipt workflows, as many as the namespace accepts.

They are used for search only. Each may be missing: registered with another type, beyond the
namespace's limit, or not permitted. Runs are then started without it, and the worker's heartbeat
names it. Called by `worker.temporal.connect`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from worker.temporal.problems import RPC_SECONDS, reason_of
from workflows.search_attributes import SEARCH_ATTRIBUTE_KEYS

KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
# Their types by name, in order of priority.
SEARCH_ATTRIBUTES: Mapping[str, "IndexedValueType.ValueType"] = {
    key.name: IndexedValueType.ValueType(key.indexed_value_type) for key in SEARCH_ATTRIBUTE_KEYS
}

# Temporal is unavailable: each further call would only wait for its timeout.
_UNAVAILABLE = {RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Registered:
    """The attributes that can be written. `missing` gives the reason for each of the others."""

    names: frozenset[str] = frozenset(SEARCH_ATTRIBUTES)
    missing: Mapping[str, str] = field(default_factory=dict)


ALL, NOTHING = Registered(), Registered(frozenset())


async def register_search_attributes(
    client: Client, described: DescribeNamespaceResponse
) -> Registered:
    """Register what is missing and return the result.

    Raises nothing, because a worker works without any of them.
    """
    found, reason = await _list(client)
    if found is None:
        return _registered_from(_aliases(described), {}, reason)
    refused: dict[str, str] = {}
    if wanted := [name for name in SEARCH_ATTRIBUTES if name not in found]:
        refused = await _add(client, wanted)
        # Another worker may have added them meanwhile. Also, Temporal accepts a name that exists
        # with another type.
        found, reason = await _list(client)
    return _registered_from(found or {}, refused, reason)


async def _list(client: Client) -> tuple[dict[str, int] | None, str]:
    """The types of the namespace's custom attributes by name, and why others are missing.

    None: they cannot be listed.
    """
    request = ListSearchAttributesRequest(namespace=client.namespace)
    try:
        listed = await client.operator_service.list_search_attributes(request, timeout=RPC_SECONDS)
    except RPCError as error:
        return None, f"the namespace does not list it ({reason_of(error)})"
    return dict(listed.custom_attributes), "not registered"


async def _add(client: Client, names: list[str]) -> dict[str, str]:
    """Add the attributes in one call, or one by one if that is refused.

    The reasons of those that were refused, by name.
    """
    refusal = await _add_together(client, names)
    if refusal is None:
        log.info("search_attributes_registered", names=sorted(names))
        return {}
    if refusal.status in _UNAVAILABLE:
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
    """The attributes by the namespace's aliases, for example `MgState` for `Keyword01`.

    Needed where the operator service is not exposed, as on Temporal Cloud.
    """
    types = {"Keyword": KEYWORD, "Datetime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME}
    aliases = described.config.custom_search_attribute_aliases
    return {
        alias: int(types.get(column.rstrip("0123456789"), 0)) for column, alias in aliases.items()
    }


def _registered_from(
    found: Mapping[str, int], refused: Mapping[str, str], reason: str
) -> Registered:
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
