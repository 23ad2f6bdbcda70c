"""The backup file is read as it was written; truncated, changed or forged files are rejected."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from store.crypto.encryption import Sealer
from store.maintenance.backup_file import (
    ROWS_AT_ONCE,
    BackupError,
    BackupReader,
    BackupWriter,
    Batch,
    fingerprint,
    written_whole,
)

KEY = Sealer("a root secret for the backups, long enough").current.backup_key
ROWS = [
    [f"prj_{number}", None, number, 0.25, True, "naïve – 🦆\n"]
    for number in range(ROWS_AT_ONCE + 1)
]
COLUMNS = ("id", "a", "b", "c", "d", "e")

Lines = list[Any]  # JSON


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A backup of one table with rows and one without."""
    path = tmp_path / "backup.jsonl.gz"
    with written_whole(path) as file:
        writer = BackupWriter(file)
        writer.begin(
            key=KEY, made_at=datetime(2026, 11, 23, tzinfo=UTC), made_by="0.1.0", revision="0001"
        )
        writer.begin_table("projects", COLUMNS)
        writer.add(ROWS)
        writer.begin_table("receipts", ("event_id",))
        writer.end()
    return path


def read(path: Path) -> list[Batch]:
    with BackupReader.open(path) as backup:
        return list(backup.batches(KEY))


def changed(path: Path, change: Callable[[Lines], Lines]) -> None:
    """A backup forged by somebody who knows the format but not the key."""
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    path.write_bytes(
        gzip.compress("".join(f"{json.dumps(line)}\n" for line in change(lines)).encode())
    )


def test_every_row_is_read_as_it_was_written(path: Path) -> None:
    batches = read(path)

    assert [row for batch in batches for row in batch.rows] == ROWS
    assert [(batch.table, batch.columns, len(batch.rows)) for batch in batches] == [
        ("projects", COLUMNS, ROWS_AT_ONCE),
        ("projects", COLUMNS, 1),
    ]


def test_header_names_the_version_and_does_not_reveal_the_key(path: Path) -> None:
    with BackupReader.open(path) as backup:
        header = backup.header

    assert (header.made_at, header.made_by, header.revision) == (
        "2026-11-23T00:00:00.000Z",
        "0.1.0",
        "0001",
    )
    assert header.key_fingerprint == fingerprint(KEY) != fingerprint(b"another key")
    assert KEY.hex() not in gzip.decompress(path.read_bytes()).decode()


def test_only_the_owner_may_read_the_file(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_unfinished_file_does_not_replace_the_previous_one(path: Path) -> None:
    before = path.read_bytes()

    def stop_halfway() -> None:
        with written_whole(path) as file:
            file.write(b"half of it")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stop_halfway()

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    message = r"no/backup\.gz cannot be written \(No such file or directory\)"

    with pytest.raises(BackupError, match=message), written_whole(tmp_path / "no" / "backup.gz"):
        pass


@pytest.mark.parametrize(
    "share", [0.05, 0.5, 0.999], ids=["its beginning", "half of it", "all but its last bytes"]
)
def test_truncated_file_is_refused(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(BackupError, match=r"is damaged|is not a backup"):
        read(path)


@pytest.mark.parametrize("position", [0.3, 0.6, 0.9])
def test_file_with_a_flipped_bit_is_refused(path: Path, position: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * position)] ^= 4
    path.write_bytes(content)

    with pytest.raises(BackupError, match="is damaged"):
        read(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [*lines[:2], ["prj_0", "https://evil.example", *lines[2][2:]], *lines[3:]],
        lambda lines: [*lines[:2], *lines[3:]],
        lambda lines: [*lines[:2], ["prj_0"], *lines[3:]],
        lambda lines: lines[:-1],
        lambda lines: [*lines, ["prj_more"]],
        lambda lines: [lines[0] | {"revision": "0002"}, *lines[1:]],
        lambda lines: [*lines[:-1], lines[-1] | {"rows": {"projects": 1}}],
        lambda lines: [*lines[:2], 5, *lines[2:]],
        lambda lines: [*lines[:2], "mac", *lines[2:]],
        lambda lines: [*lines[:1], *lines[2:]],
    ],
    ids=[
        "value",
        "row gone",
        "short row",
        "no end",
        "more",
        "header",
        "count",
        "number",
        "text",
        "no table",
    ],
)
def test_file_changed_by_somebody_without_the_key_is_refused(
    path: Path, change: Callable[[Lines], Lines]
) -> None:
    changed(path, change)

    with pytest.raises(BackupError, match="is damaged"):
        read(path)


def test_format_of_a_later_version_is_named(path: Path) -> None:
    changed(path, lambda lines: [lines[0] | {"version": 2, "made_by": "9.1.0"}, *lines[1:]])

    with pytest.raises(
        BackupError,
        match=r"has the format 2.* reads 1: restore it with the version that made it, 9\.1\.0",
    ):
        read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"SQLite format 3\0",
        gzip.compress(b""),
        gzip.compress(b"[]\n"),
        gzip.compress(b'{"format": "tar"}\n'),
    ],
    ids=["empty", "another format", "nothing packed", "a list", "another object"],
)
def test_other_file_is_no_backup(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)

    with pytest.raises(BackupError, match="is not a backup of Makegood"):
        read(path)
