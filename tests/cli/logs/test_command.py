"""`makegood logs` on the files that `makegood up` leaves: what it prints, and what it refuses."""

import json
import signal
from contextlib import closing
from pathlib import Path

import pytest

from cli.logs.writing import ChildLogs
from tests.cli.makegood import Makegood
from tests.support.processes import python, running

LINES = {
    "api": ["2026-11-30T10:00:00.002Z api is ready", "2026-11-30T10:00:00.004Z a request"],
    "temporal": ["2026-11-30T10:00:00.001Z Temporal CLI", "2026-11-30T10:00:00.003Z served"],
}
MERGED = [
    "temporal | 2026-11-30T10:00:00.001Z Temporal CLI",
    "api      | 2026-11-30T10:00:00.002Z api is ready",
    "temporal | 2026-11-30T10:00:00.003Z served",
    "api      | 2026-11-30T10:00:00.004Z a request",
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The logs of an instance that has stopped."""
    directory = tmp_path / "data" / "logs"
    directory.mkdir(parents=True)
    for name, lines in LINES.items():
        (directory / f"{name}.log").write_text("".join(f"{line}\n" for line in lines))
    return directory


@pytest.mark.usefixtures("directory")
def test_all_logs_are_printed_in_the_order_of_time(bare_makegood: Makegood) -> None:
    done = bare_makegood("logs")

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == MERGED


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_lines_counts_those_of_all_logs(bare_makegood: Makegood, count: int) -> None:
    done = bare_makegood("logs", "--lines", str(count))

    assert done.out.splitlines() == MERGED[4 - count :]


@pytest.mark.usefixtures("directory")
def test_one_log_is_printed_without_its_name(bare_makegood: Makegood) -> None:
    assert bare_makegood("logs", "api").out.splitlines() == LINES["api"]
    assert bare_makegood("logs", "api", "-n", "1").out.splitlines() == LINES["api"][1:]


@pytest.mark.usefixtures("directory")
def test_json_is_an_object_on_each_line(bare_makegood: Makegood) -> None:
    done = bare_makegood("logs", "api", "--json")

    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"name": "api", "at": "2026-11-30T10:00:00.002Z", "text": "api is ready"},
        {"name": "api", "at": "2026-11-30T10:00:00.004Z", "text": "a request"},
    ]


def test_text_of_a_log_cannot_move_the_cursor(directory: Path, bare_makegood: Makegood) -> None:
    (directory / "api.log").write_text("2026-11-30T10:00:00.002Z \x1b[2Jgone\r\u202e\n")

    plain, as_json = bare_makegood("logs", "api"), bare_makegood("logs", "api", "--json")

    assert plain.out == "2026-11-30T10:00:00.002Z  [2Jgone  \n"
    assert "\x1b" not in as_json.out
    assert json.loads(as_json.out)["text"] == "\x1b[2Jgone\r\u202e"


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize("name", ["wroker", "../lock", "api.log", "", "\x1b[2J"])
def test_unknown_name_lists_the_known_ones(bare_makegood: Makegood, name: str) -> None:
    done = bare_makegood("logs", name)

    assert (done.code, done.out) == (3, "")
    assert "choose one of api, temporal" in done.err
    assert "\x1b" not in done.err
    assert done.err.count("\n") == 1


def test_missing_data_directory_says_what_to_do(bare_makegood: Makegood, tmp_path: Path) -> None:
    done = bare_makegood("logs")

    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"makegood: there is no data directory {tmp_path / 'data'}: run `makegood up` once, or set"
        " MAKEGOOD_DATA_DIR to the directory that you use\n"
    )


def test_data_directory_without_logs_says_who_writes_them(
    bare_makegood: Makegood, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()

    done = bare_makegood("logs", "api")

    assert done.code == 1
    assert "has no logs yet: `makegood up` writes them" in done.err
    assert done.err.count("\n") == 1


def test_follow_prints_new_lines_until_ctrl_c(directory: Path, bare_makegood: Makegood) -> None:
    logs = ChildLogs(directory, LINES, on_problem=pytest.fail, file_bytes=200)
    with (
        closing(logs),
        running(
            *python("-m", "cli.main", "logs", "-f", "-n", "1"), environment=bare_makegood.settings
        ) as program,
    ):
        program.wait_for("a request")

        for number in range(20):
            logs.write("temporal", f"line {number}")
            program.wait_for(f"line {number}\n")
        program.process.send_signal(signal.SIGINT)

        assert program.ended() == 0
        assert program.output.count("temporal | ") == 20
        assert (directory / "temporal.log.3").exists()
        assert "Traceback" not in program.output


@pytest.mark.usefixtures("directory")
def test_reader_that_ends_early_is_no_error(started_makegood: Makegood) -> None:
    code = f"{' '.join(python('-m', 'cli.main', 'logs'))} | head -n 1"

    with running("bash", "-c", code, environment=started_makegood.settings) as program:
        assert program.ended() == 0
        assert program.output == f"{MERGED[0]}\n"
