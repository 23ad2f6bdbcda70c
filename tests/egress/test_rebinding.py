"""The guard against a name server that lies:

the system's own resolver asks it over UDP and TCP, in a network of its own.
"""

import json
import subprocess
from typing import Any

import pytest

from tests.egress.rebinding import NAMES, NO_NAMESPACES, PUBLIC
from tests.support.processes import ROOT, python

ACCEPTED = [200, None, None]
REFUSED = [None, "no_permitted_address", "refused_address"]
UNKNOWN = [None, "no_permitted_address", "name_not_resolved"]
# By name: whether it may be saved, and what each call comes to.
EXPECTED: dict[str, tuple[bool, list[list[Any]]]] = {
    "public.example": (True, [ACCEPTED]),
    "missing.example": (False, [UNKNOWN]),
    "empty.example": (False, [UNKNOWN]),
    "broken.example": (False, [UNKNOWN]),
    "rebinding.example": (True, [REFUSED]),
    "flipping.example": (True, [REFUSED, ACCEPTED]),
}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What `tests.egress.rebinding` found."""
    ended = subprocess.run(
        python("-m", "tests.egress.rebinding"), cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    if ended.returncode == NO_NAMESPACES:
        pytest.skip(f"the kernel gives no network of one's own: {ended.stderr}")
    assert ended.returncode == 0, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


@pytest.mark.parametrize("name", NAMES)
def test_name_is_saved_and_called_by_what_it_leads_to_then(
    found: dict[str, Any], name: str
) -> None:
    saved, calls = EXPECTED.get(name, (False, [REFUSED]))

    assert (found["names"][name]["saved"], found["names"][name]["calls"]) == (saved, calls)


def test_no_connection_arrives_at_an_address_that_is_not_public(found: dict[str, Any]) -> None:
    assert found["arrived"] == [PUBLIC, PUBLIC]


def test_name_is_looked_up_once_for_the_save_and_once_for_each_call(found: dict[str, Any]) -> None:
    asked = {name: report["asked"] for name, report in found["names"].items()}

    assert (asked["public.example"], asked["rebinding.example"], asked["flipping.example"]) == (
        2,
        2,
        3,
    )


def test_address_that_only_the_answer_over_tcp_holds_is_judged_too(found: dict[str, Any]) -> None:
    assert found["tcp"] >= 2


def test_who_named_the_url_reads_the_same_whatever_is_behind_it(found: dict[str, Any]) -> None:
    refused = [name for name in found["names"].values() if not name["saved"]]

    assert len({name["messages"][0] for name in refused}) == 1
    assert {tuple(call[:2]) for name in refused for call in name["calls"]} == {
        (None, "no_permitted_address")
    }
    # Not even how long it took: a name that exists in this network is known sooner than one that
    # does not.
    assert {milliseconds % 1000 for name in refused for milliseconds in name["milliseconds"]} == {0}


def test_silent_name_server_holds_up_nobody_elses_names(found: dict[str, Any]) -> None:
    assert found["silent"] == {"answered": [PUBLIC], "still_waiting": 20}
