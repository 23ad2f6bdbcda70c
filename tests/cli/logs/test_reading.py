"""Reading logs: the last lines over all files, new lines over any renaming, order by time."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cli.logs.reading import LogLine, LogReader, log_names, merged
from cli.logs.writing import ChildLogs


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LogReader]:
    with closing(LogReader(tmp_path, "api")) as opened:
        yield opened


def write(directory: Path, *texts: str, file_bytes: int = 1_000_000) -> None:
    with closing(
        ChildLogs(directory, ["api"], on_problem=pytest.fail, file_bytes=file_bytes)
    ) as logs:
        for text in texts:
            logs.write("api", text)


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


def numbered(first: int, end: int) -> list[str]:
    return [f"line {number}" for number in range(first, end)]


def test_line_has_its_name_time_and_text(tmp_path: Path, reader: LogReader) -> None:
    (tmp_path / "api.log").write_text("2026-11-30T10:00:00.001Z two words\n")

    assert reader.next_lines() == [LogLine("api", "2026-11-30T10:00:00.001Z", "two words")]


@pytest.mark.parametrize("count", [0, 1, 7, 99])
def test_last_lines_are_read_over_all_files(tmp_path: Path, reader: LogReader, count: int) -> None:
    write(tmp_path, *numbered(0, 100), file_bytes=1_400)  # three files of some 40 lines

    found = reader.next_lines(last=count)

    assert (tmp_path / "api.log.2").exists()
    assert texts(found) == numbered(100 - count, 100)


def test_more_than_there_are_is_all(tmp_path: Path, reader: LogReader) -> None:
    write(tmp_path, *numbered(0, 3))

    assert texts(reader.next_lines(last=50)) == numbered(0, 3)


def test_new_lines_come_once(tmp_path: Path, reader: LogReader) -> None:
    write(tmp_path, "old")
    reader.next_lines(last=10)

    before = reader.next_lines()
    write(tmp_path, "new", "newer")
    after = reader.next_lines()

    assert (before, texts(after), reader.next_lines()) == ([], ["new", "newer"], [])


@pytest.mark.parametrize("between", [5, 50, 110], ids=["no renaming", "one", "two"])
def test_renamed_files_lose_no_line(tmp_path: Path, reader: LogReader, between: int) -> None:
    write(tmp_path, *numbered(0, 10), file_bytes=1_800)
    reader.next_lines()

    write(tmp_path, *numbered(10, 10 + between), file_bytes=1_800)

    assert texts(reader.next_lines()) == numbered(10, 10 + between)


def test_reader_goes_on_with_the_oldest_file_when_its_own_was_removed(
    tmp_path: Path, reader: LogReader
) -> None:
    write(tmp_path, *numbered(0, 10), file_bytes=400)
    reader.next_lines()

    write(tmp_path, *numbered(10, 500), file_bytes=400)
    found = [int(text.removeprefix("line ")) for text in texts(reader.next_lines())]

    # The rest of its own file, which it still has open, then all that is left.
    own = [number for number in found if number < 100]
    left = found[len(own) :]
    assert own == list(range(10, 10 + len(own)))
    assert left == list(range(500 - len(left), 500))
    assert len(left) > 30


def test_unfinished_line_is_read_when_it_is_whole(tmp_path: Path, reader: LogReader) -> None:
    with (tmp_path / "api.log").open("w", buffering=1) as file:
        file.write("2026-11-30T10:00:00.001Z half")
        file.flush()
        before = reader.next_lines()

        file.write(" and half\n")

        assert before == []
        assert texts(reader.next_lines()) == ["half and half"]


def test_log_that_does_not_exist_yet_is_read_when_it_does(
    tmp_path: Path, reader: LogReader
) -> None:
    assert reader.next_lines(last=10) == []

    write(tmp_path, "the first")

    assert texts(reader.next_lines()) == ["the first"]


def test_line_without_a_time_has_that_of_the_line_before(tmp_path: Path, reader: LogReader) -> None:
    (tmp_path / "api.log").write_bytes(b"2026-11-30T10:00:00.001Z one\nb\xe4d bytes\n\n")

    assert reader.next_lines() == [
        LogLine("api", "2026-11-30T10:00:00.001Z", "one"),
        LogLine("api", "2026-11-30T10:00:00.001Z", "b\ufffdd bytes"),
        LogLine("api", "2026-11-30T10:00:00.001Z", ""),
    ]


def test_logs_are_merged_by_time_and_each_keeps_its_order() -> None:
    api = [LogLine("api", "2026-11-30T10:00:00.002Z", "b"), LogLine("api", "", "c")]
    worker = [
        LogLine("worker", f"2026-11-30T10:00:00.00{n}Z", text) for n, text in ((1, "a"), (3, "d"))
    ]

    assert "".join(texts(merged([api, worker]))) == "abcd"


def test_names_are_those_of_the_files(tmp_path: Path) -> None:
    for name in ("worker.log", "api.log", "api.log.1", "notes.txt"):
        (tmp_path / name).touch()

    assert log_names(tmp_path) == ["api", "worker"]
    assert log_names(tmp_path / "absent") == []
