"""`demo`: all stories on a temporary instance, its errors, and that no process is left behind."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from cli.demo.run import TOTAL_SECONDS
from tests.cli.api_process import running_api
from tests.cli.makegood import Makegood
from tests.support.processes import all_gone, free_ports, python, running
from tests.support.waiting import wait_until

LOOPBACK = "127.0.0.0/8"


def left_behind() -> set[str]:
    """The temporary directories of demos that are there now."""
    return {
        name
        for name in os.listdir(tempfile.gettempdir())
        if name.startswith(("makegood-demo-", "makegood-merchant-"))
    }


def test_whole_story_is_observed_in_under_a_minute(started_makegood: Makegood) -> None:
    before = left_behind()

    output = started_makegood("demo", "--fresh", "--json").json

    assert output["ok"] is True
    assert output["events_url"] is None  # its Makegood is gone
    assert output["seconds"] < TOTAL_SECONDS <= 60
    steps = {step["story"].partition(":")[0]: [] for step in output["steps"]}
    for step in output["steps"]:
        steps[step["story"].partition(":")[0]].append(step["step"])
    assert {"Success", "Failure", "Lost job", "Late result", "Never arrived"} <= set(steps)
    for observed in (
        "a source of kind stripe_api lists the events",
        "the shop answered 307",
        "the source saw the event at the provider",
        "the incident opened: missing_receipt",
    ):
        assert any(observed in step for step in steps["Never arrived"]), observed
    for story in ("Failure", "Lost job", "Never arrived"):
        for observed in (
            "the e-mail arrived: [",
            "Reprocess was requested",
            "signed callback arrived",
            "replay_id: resolved",
        ):
            assert any(observed in step for step in steps[story]), (story, observed)
    assert left_behind() == before


def test_demo_names_the_step_that_does_not_happen(tmp_path: Path) -> None:
    # No worker runs beside this API, so that nobody is ever mailed or called.
    with running_api(tmp_path, MAKEGOOD_EGRESS_ALLOW=LOOPBACK) as makegood:
        done = makegood("demo")

    assert done.code == 1
    assert "success was reported; the receipt is applied" in done.out
    assert "the demo did not observe this within 12 s (Failure: " in done.err


def test_demo_says_when_loopback_may_not_be_called(tmp_path: Path) -> None:
    with running_api(tmp_path) as makegood:
        done = makegood("demo")

    assert done.code == 1
    assert "MAKEGOOD_EGRESS_ALLOW=127.0.0.0/8" in done.err


def test_demo_says_when_the_running_one_has_another_store(tmp_path: Path) -> None:
    with running_api(tmp_path / "theirs", MAKEGOOD_EGRESS_ALLOW=LOOPBACK) as makegood:
        ours = Makegood({**makegood.settings, "MAKEGOOD_DATA_DIR": str(tmp_path / "ours")})
        assert ours("migrate").code == 0
        done = ours("demo")

    assert done.code == 1
    assert "another store" in done.err


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.long, id="SIGINT"),
        pytest.param(signal.SIGTERM, marks=pytest.mark.long, id="SIGTERM"),
        pytest.param(signal.SIGKILL, id="SIGKILL"),
    ],
)
def test_interrupted_demo_leaves_no_process(number: signal.Signals, tmp_path: Path) -> None:
    environment = {
        "MAKEGOOD_DATA_DIR": str(tmp_path),
        "MAKEGOOD_PORT": str(free_ports(1)[0]),
        "TMPDIR": str(tmp_path),
    }
    with running(
        *python("-u", "-m", "cli.main", "demo", "--fresh"), environment=environment
    ) as program:
        program.wait_for("the receipt is stored", seconds=45)
        below = program.descendants()

        program.process.send_signal(number)

        assert program.ended(seconds=20) != 0
        assert len(below) > 5
        wait_until(lambda: all_gone(below), seconds=15, what="every process below the demo is gone")
