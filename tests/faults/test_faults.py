"""The promise under faults: nothing lost, nothing doubled, never early; and that the harness
catches bugs planted in the product.

`make faults` is the long run, with every kind of fault.
"""

import pytest

from tests.faults.installation.installation import StoreKind
from tests.faults.rules.verdict import Rule, Verdict
from tests.faults.run import Plan, run_and_check
from tests.support.processes import ROOT

ARTEFACTS = ROOT / "artefacts" / "faults"


def verdict_of(plan: Plan) -> Verdict:
    return run_and_check(plan, ARTEFACTS, say=print)[1]


# The run alone takes 80 s on two idle cores: the usual limit would end it beside other tests.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def test_promise_is_kept_through_eight_kills(store: StoreKind) -> None:
    verdict = verdict_of(Plan(store, seed=4, receipts=300, kills=8, over_seconds=25))

    assert verdict.violations == ()
    assert verdict.faults["kill"] == 8
    assert verdict.counts["receipts acknowledged"] > 280


@pytest.mark.parametrize(
    ("bug", "rule"),
    [
        pytest.param("answer_before_commit", Rule.LOST_RECEIPT, marks=pytest.mark.long),
        ("no_unique_key", Rule.DOUBLED_RECEIPT),
        pytest.param("mail_before_record", Rule.MAIL_COPY, marks=pytest.mark.long),
    ],
)
def test_planted_bug_is_caught(bug: str, rule: Rule) -> None:
    # A receipt is lost only if an API dies. The other bugs need no fault.
    killed = (
        {"kills": 6, "killed": ("api-1", "api-2")}
        if bug == "answer_before_commit"
        else {"kills": 0}
    )

    verdict = verdict_of(
        Plan(
            "sqlite",
            seed=5,
            receipts=60,
            over_seconds=6,
            deadlines=(1, 2),
            quiet_seconds=8,
            planted=bug,
            **killed,
        )
    )

    assert verdict.violated(rule)
