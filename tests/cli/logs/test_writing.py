"""Log files: each line with its time, bounded in size, and a full disk stops nothing."""

import re
from pathlib import Path

import pytest

from cli.logs.writing import OLDER_FILES, ChildLogs


def test_each_line_begins_with_its_time(tmp_path: Path) -> None:
    logs = ChildLogs(tmp_path / "logs", ["api"], on_problem=pytest.fail)

    logs.write("api", "started %s é")
    logs.write("api", "")
    logs.close()

    first, second = (tmp_path / "logs" / "api.log").read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z started %s é", first)
    assert re.fullmatch(r"\S+Z ", second)


def test_every_child_has_a_file_from_the_start(tmp_path: Path) -> None:
    logs = ChildLogs(tmp_path / "logs", ["api", "worker"], on_problem=pytest.fail)

    logs.write("worker", "only here")
    logs.close()

    assert logs.path("api") == tmp_path / "logs" / "api.log"
    assert logs.path("api").read_text() == ""
    assert logs.path("worker").read_text().endswith(" only here\n")


def test_next_run_appends(tmp_path: Path) -> None:
    for run in ("first", "second"):
        logs = ChildLogs(tmp_path / "logs", ["api"], on_problem=pytest.fail)
        logs.write("api", run)
        logs.close()

    texts = [line.split()[1] for line in (tmp_path / "logs" / "api.log").read_text().splitlines()]
    assert texts == ["first", "second"]


def test_files_are_rotated_and_bounded(tmp_path: Path) -> None:
    logs = ChildLogs(tmp_path, ["api"], on_problem=pytest.fail, file_bytes=1_000)

    for number in range(1_000):
        logs.write("api", f"line {number}")
    logs.close()

    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sorted(sizes) == ["api.log", *(f"api.log.{n}" for n in range(1, OLDER_FILES + 1))]
    assert max(sizes.values()) <= 1_000
    newest_last = [tmp_path / f"api.log.{n}" for n in range(OLDER_FILES, 0, -1)]
    kept = "".join(path.read_text() for path in (*newest_last, tmp_path / "api.log"))
    numbers = [int(line.rpartition(" ")[2]) for line in kept.splitlines()]
    assert numbers == list(range(numbers[0], 1_000))


def test_full_disk_is_reported_once_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "api.log").symlink_to("/dev/full")
    problems: list[str] = []
    logs = ChildLogs(tmp_path, ["api", "worker"], on_problem=problems.append)

    for _ in range(3):
        logs.write("api", "lost")
        logs.write("worker", "kept")
    logs.close()

    assert problems == [f"{tmp_path / 'api.log'} cannot be written: No space left on device"]
    assert logs.path("worker").read_text().count("kept") == 3


def test_file_is_written_again_when_it_can_be(tmp_path: Path) -> None:
    problems: list[str] = []
    logs = ChildLogs(tmp_path, ["api"], on_problem=problems.append, file_bytes=40)
    logs.write("api", "the first file")
    # The renaming of a full file fails, because a directory has the last name.
    (tmp_path / "api.log.2").touch()
    (tmp_path / "api.log.3").mkdir()
    logs.write("api", "lost")
    logs.write("api", "lost too")

    (tmp_path / "api.log.3").rmdir()
    logs.write("api", "written again")
    logs.close()

    assert len(problems) == 1
    assert (tmp_path / "api.log").read_text().endswith(" written again\n")
    assert (tmp_path / "api.log.1").read_text().endswith(" the first file\n")


def test_line_that_is_no_text_of_a_format_is_written_as_it_is(tmp_path: Path) -> None:
    logs = ChildLogs(tmp_path, ["api"], on_problem=pytest.fail)

    logs.write("api", "100 %d {} %(asctime)s")
    logs.close()

    assert logs.path("api").read_text().endswith("Z 100 %d {} %(asctime)s\n")


def test_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()

    with pytest.raises(FileExistsError):
        ChildLogs(tmp_path / "logs", ["api"], on_problem=pytest.fail)
