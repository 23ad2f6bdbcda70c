"""`makegood up` on loopback opens loopback for test projects, and the commands beside it know."""

import json
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from cli.up.instance_file import FILE_NAME, announced, read_instance
from cli.up.open_loopback import LOOPBACK_RANGES, with_open_loopback
from config.settings import Settings
from tests.cli.makegood import Makegood
from tests.support.processes import Program, free_ports, python, running

REPAIR_URL = "http://127.0.0.1:9/repair"


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Makegood, Program]]:
    """A running `makegood up`, and commands that know its data directory alone."""
    data_dir = tmp_path_factory.mktemp("up") / "data"
    names = ("PORT", "TEMPORAL_PORT", "TEMPORAL_UI_PORT", "SMTP_PORT")
    ports = {f"MAKEGOOD_{name}": str(port) for name, port in zip(names, free_ports(4), strict=True)}
    own = {"MAKEGOOD_DATA_DIR": str(data_dir)}
    with running(*python("-m", "cli.main", "up"), environment=own | ports) as program:
        program.wait_for("Ctrl-C stops everything", seconds=60)
        yield Makegood(own), program


def test_banner_says_what_is_open_and_shows_the_signing_secret(
    beside: tuple[Makegood, Program],
) -> None:
    _, program = beside

    assert "test projects may use this machine (127.0.0.0/8, ::1)" in program.output
    assert program.output.count("MAKEGOOD_SIGNING_SECRET=whsec_") == 1


def test_test_project_may_be_called_on_loopback_and_a_live_one_never(
    beside: tuple[Makegood, Program],
) -> None:
    makegood, _ = beside
    url = ("--repair-url", REPAIR_URL)

    test = makegood("project", "create", "a test", "--mode", "test", *url, "--json")
    live = makegood("project", "create", "a live one", "--mode", "live", *url)
    # What is open is the instance's answer, not the environment's.
    opened = makegood(
        "project", "create", "live", "--mode", "live", *url, MAKEGOOD_EGRESS_ALLOW="127.0.0.0/8"
    )

    assert test.code == 0, test.err
    assert (live.code, opened.code) == (2, 2)
    assert "repair_url" in live.err


def test_demo_runs_on_the_instance_beside_it(beside: tuple[Makegood, Program]) -> None:
    makegood, _ = beside

    done = makegood("demo", "--json")

    assert done.code == 0, done.err
    assert "started for this demo" not in done.out
    port = json.loads((Path(makegood.settings["MAKEGOOD_DATA_DIR"]) / FILE_NAME).read_text())[
        "variables"
    ]["MAKEGOOD_PORT"]
    assert done.json["events_url"].startswith(f"http://127.0.0.1:{port}/events?project=prj_")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_is_open_for_test_projects_alone(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAKEGOOD_EGRESS_ALLOW", raising=False)

    settings = with_open_loopback(Settings(host=host))

    assert settings.egress_of(livemode=False) == LOOPBACK_RANGES
    assert settings.egress_of(livemode=True) == ()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "makegood.example"])
def test_nothing_is_open_on_any_other_address(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAKEGOOD_EGRESS_ALLOW", raising=False)

    assert with_open_loopback(Settings(host=host)).egress_of(livemode=False) == ()


@pytest.mark.parametrize(
    ("value", "ranges"), [("", ()), ("10.0.0.0/8", (ip_network("10.0.0.0/8"),))]
)
def test_setting_decides_instead_of_loopback(
    value: str, ranges: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKEGOOD_EGRESS_ALLOW", value)

    assert with_open_loopback(Settings()).egress_of(livemode=False) == ranges


def test_file_of_an_instance_that_has_ended_counts_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKEGOOD_PORT", "8123")
    monkeypatch.setenv("MAKEGOOD_DATABASE_URL", "postgresql://makegood:hunter2@db.example/x")
    path = tmp_path / FILE_NAME
    with announced(Settings(data_dir=tmp_path)):
        written = json.loads(path.read_text())
        (tmp_path / "lock").write_text(str(written["process"]))
        running_now = read_instance(tmp_path)
        (tmp_path / "lock").write_text("1")
        held_by_another = read_instance(tmp_path)

    assert running_now is not None
    assert running_now.variables["MAKEGOOD_PORT"] == "8123"
    assert running_now.secrets == {"MAKEGOOD_DATABASE_URL"}
    assert "hunter2" not in json.dumps(written)
    assert held_by_another is None
    assert not path.exists()
    path.write_text("no json")
    assert read_instance(tmp_path) is None
