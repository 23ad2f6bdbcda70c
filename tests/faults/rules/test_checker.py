"""The verdict as a whole:

what a good run counts, the settling at the end, and that no rule is without a test that it catches.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.installation.example_run import SECRET, Run, a_good_run
from tests.faults.installation.history import History
from tests.faults.rules.checker import check
from tests.faults.rules.verdict import MEANINGS, Bounds, Rule, rank


def test_a_good_run_holds_and_is_counted() -> None:
    run = a_good_run()
    run.fault(40.0, 41.0)
    run.fault(50.0, 55.0, "stop", "temporal")
    run.fault(60.0, None, "kill", "api-1")

    verdict = check(run.history(), signing_secrets=[SECRET])

    assert verdict.violations == ()
    assert verdict.held
    assert verdict.faults == {"kill": 2, "stop": 1}
    expected = {
        "requests": 11,
        "requests without an answer": 1,
        "receipts acknowledged": 4,
        "results acknowledged": 4,
    }
    expected |= {
        "incidents expected": 2,
        "incidents found": 2,
        "incidents allowed either way": 1,
        "mails": 4,
        "callbacks": 3,
    }
    assert expected.items() <= verdict.counts.items()


def test_requests_are_counted_once_by_their_outcome() -> None:
    run = a_good_run()
    run.receipt(3.0, 8, status=None)
    run.receipt(3.5, 8, status=None)
    run.result(4.0, 8, "success", status=404)

    counts = check(run.history(), signing_secrets=[SECRET]).counts

    assert (
        counts["receipts sent"],
        counts["receipts acknowledged"],
        counts["receipts unknown"],
    ) == (5, 4, 1)
    assert (counts["results sent"], counts["results refused"]) == (5, 1)
    assert (counts["requests without an answer"], counts["requests refused"]) == (3, 1)


@pytest.mark.parametrize(
    "bend",
    [
        lambda run: run.drop(run.entry("settled")),
        lambda run: run.entry("settled").fields.update(outbox=1),
        lambda run: run.entry("settled").fields.update(stuck=["receipt-evt_4"]),
        lambda run: run.entry("settled").fields.update(seconds=60.5),
    ],
    ids=["never", "outbox", "stuck", "late"],
)
def test_a_run_that_does_not_settle_is_caught(bend: Callable[[Run], object]) -> None:
    run = a_good_run()
    bend(run)

    (violation,) = check(run.history(), signing_secrets=[SECRET]).violations

    assert violation.rule is Rule.NOT_SETTLED


def test_the_last_settling_counts() -> None:
    run = a_good_run()
    run.note(80.0, "settled", seconds=99.0, outbox=7, stuck=["receipt-evt_4"])

    assert check(run.history(), signing_secrets=[SECRET]).held


def test_an_empty_history_does_not_hold() -> None:
    assert not check(History(), signing_secrets=[SECRET]).held


def test_a_bound_can_be_set() -> None:
    run = a_good_run()

    verdict = check(
        run.history(),
        signing_secrets=[SECRET],
        bounds=Bounds(callback_attempts=1, settles_within_seconds=2.0),
    )

    assert {one.rule for one in verdict.violations} == {Rule.TOO_MANY_ATTEMPTS, Rule.NOT_SETTLED}


def test_a_saved_history_gives_the_same_verdict(tmp_path: Path) -> None:
    history = a_good_run().history()
    history.save(tmp_path / "history.jsonl")

    again = History.load(tmp_path / "history.jsonl")

    assert check(again, signing_secrets=[SECRET]) == check(history, signing_secrets=[SECRET])


def test_every_rule_has_its_meaning_and_a_test_that_it_catches() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    caught = set(re.findall(r"Rule\.([A-Z_]+)", tests))

    assert caught >= {rule.name for rule in Rule}
    assert set(MEANINGS) == set(Rule)


@pytest.mark.parametrize(("fraction", "value"), [(0.5, 3.0), (0.99, 5.0), (0.2, 1.0)])
def test_a_rank_is_a_value_that_occurred(fraction: float, value: float) -> None:
    assert rank([5.0, 1.0, 4.0, 2.0, 3.0], fraction) == value
