"""Outbox rows become signals that the workflow has handlers for."""

import ast
import inspect

import pytest

from domain.results import ResultStatus
from domain.temporal.outbox import OutboxKind
from store.receipts.outbox import OutboxRow
from worker.temporal.signals import SIGNALS, Signal, signal_from, signal_name
from workflows import receipt
from workflows.messages import ExpireSignal, ReprocessSignal, ResolveSignal, ResultSignal


@pytest.mark.parametrize(
    ("kind", "stored", "signal"),
    [
        (
            "result",
            {"result_id": "res_1", "status": "failed", "replay_id": "rpl_1"},
            ResultSignal("res_1", ResultStatus.FAILED, "rpl_1"),
        ),
        (
            "result",
            {"result_id": "res_1", "status": "success"},
            ResultSignal("res_1", ResultStatus.SUCCESS),
        ),
        (
            "reprocess",
            {"replay_id": "rpl_1", "requested_by": "usr_1"},
            ReprocessSignal("rpl_1", "usr_1"),
        ),
        ("reprocess", {}, ReprocessSignal()),
        ("resolve", {"requested_by": "usr_1"}, ResolveSignal("usr_1")),
        ("expire", {}, ExpireSignal()),
    ],
)
def test_row_becomes_the_signal_of_its_kind(
    kind: str, stored: dict[str, str], signal: Signal
) -> None:
    assert signal_from(OutboxRow(1, kind, stored)) == signal
    assert signal_name(signal) == kind


def test_receipt_of_an_expected_event_is_the_signal_expire() -> None:
    signal = signal_from(OutboxRow(1, "accepted", {}))

    assert (signal, signal_name(signal)) == (ExpireSignal(), "expire")


@pytest.mark.parametrize("kind", ["start", "restart", "of later", ""])
def test_kind_without_a_signal_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="the outbox row 7 is of an unknown kind"):
        signal_from(OutboxRow(7, kind, {}))


def test_every_kind_but_the_starts_has_a_signal_that_the_workflow_handles() -> None:
    starts = {OutboxKind.START, OutboxKind.RESTART}

    assert set(SIGNALS) | starts == set(OutboxKind)
    assert {kind.value for kind in set(SIGNALS) - {OutboxKind.ACCEPTED}} == handled_signals()


def handled_signals() -> set[str]:
    """The names of the workflow's signal handlers, but for the one that takes any other signal."""
    tree = ast.parse(inspect.getsource(receipt))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if ast.unparse(decorator).startswith("workflow.signal(")
        and "dynamic=True" not in ast.unparse(decorator)
    }
