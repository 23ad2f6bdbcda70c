"""Which rule of a project acts on an incident."""

from dataclasses import replace

import pytest

from domain.ids import ProjectId, RuleId
from domain.repairing.rules import Rule, RuleSpec, RuleSubject, first_match

ANY = RuleSpec("any", None, None, None, None, 0, 1, 10, 5)
SUBJECT = RuleSubject("access_unlock", "invoice.paid", "failed_result", "db_timeout")


@pytest.mark.parametrize(
    ("conditions", "subject", "acts"),
    [
        ({}, {}, True),
        ({"effect_type": "access_unlock"}, {}, True),
        ({"effect_type": "seat_update"}, {}, False),
        ({"event_type": "invoice.paid", "reason": "failed_result"}, {}, True),
        ({"event_type": "invoice.paid", "reason": "missing_result"}, {}, False),
        ({"error_code": "db_*"}, {}, True),
        ({"error_code": "DB_*"}, {}, False),
        ({"error_code": "*"}, {"error_code": None}, False),
        ({"error_code": "db_?imeout"}, {}, True),
        ({"error_code": "db_[a-s]*"}, {}, False),
        ({"error_code": "db.timeout"}, {}, False),
        ({"error_code": "*b" * 100}, {"error_code": "b" * 255}, True),
        ({"error_code": "*b" * 100 + "!"}, {"error_code": "b" * 255}, False),
        ({"error_code": "a\nb*"}, {"error_code": "a\nb\nc"}, True),
    ],
)
def test_rule_acts_if_each_condition_holds(
    conditions: dict[str, str], subject: dict[str, str | None], acts: bool
) -> None:
    rule = _rule(replace(ANY, **conditions))  # type: ignore[arg-type]  # each is a text

    found = first_match([rule], replace(SUBJECT, **subject))  # type: ignore[arg-type]

    assert (found is rule) is acts


def test_first_rule_that_matches_acts_alone() -> None:
    other = _rule(replace(ANY, name="other", effect_type="seat_update"))
    first, second = _rule(replace(ANY, name="first")), _rule(replace(ANY, name="second"))

    assert first_match([other, first, second], SUBJECT) is first
    assert first_match([other], SUBJECT) is None
    assert first.requested_by == "rule:first"


def _rule(spec: RuleSpec) -> Rule:
    return Rule(RuleId("rul_1"), ProjectId("prj_1"), spec, failures=0, disarmed_at=None)
