"""The backup file: compressed JSON lines, authenticated with a key derived from the root secret.

    {"format": "makegood-backup", "version": 1, "made_at": …, "made_by": …, "revision": …, "key": …}
    {"table": "projects", "columns": ["id", …]}
    ["prj_…", …]                                       a line for each row: its column values
    {"rows": {"projects": 1, …}, "mac": …}             the end: HMAC-SHA256 of every line before it

`key` is a fingerprint; the file contains no key. Nobody without the key can change a line
unnoticed. The file is written completely or not at all. Only `store.maintenance.backup` accesses
the store.
"""

import gzip
import hmac
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import orjson

from domain.values.timestamps import to_iso
from store.db.fsync import rename_on_disk

FORMAT = "makegood-backup"
FORMAT_VERSION = 1
ROWS_AT_ONCE = 1_000
# The longest row has an encrypted payload of 32 KiB. A longer line is damage, and not read into
# memory.
LONGEST_LINE_BYTES = 1 << 20
COMPRESSION = 5
FINGERPRINT_CHARACTERS = 32
_NEWLINE = orjson.OPT_APPEND_NEWLINE

Values = Sequence[Any]  # Any: JSON, as a row's columns have it


class BackupError(Exception):
    """A backup cannot be written, read or restored. The message is one line: the reason and what to
    do.
    """


@dataclass(frozen=True, slots=True)
class Header:
    """The header. `made_by` is the version of Makegood, `revision` that of its tables."""

    made_at: str
    made_by: str
    revision: str
    key_fingerprint: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of one table, in the order of `columns`."""

    table: str
    columns: tuple[str, ...]
    rows: list[Values]


class BackupWriter:
    """Writes a backup to an open file. `rows` counts the rows of each table so far."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self._mac = hmac.new(b"", digestmod="sha256")
        self.rows: dict[str, int] = {}
        self._table = ""

    def begin(self, *, key: bytes, made_at: datetime, made_by: str, revision: str) -> None:
        """Write the header first. `key` authenticates the whole file."""
        self._mac = hmac.new(key, digestmod="sha256")
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "made_at": to_iso(made_at),
            "made_by": made_by,
            "revision": revision,
            "key": fingerprint(key),
        }
        self._write(orjson.dumps(header, option=_NEWLINE))

    def begin_table(self, name: str, columns: Sequence[str]) -> None:
        """Begin a table. The rows added from here on belong to it."""
        self._table = name
        self.rows[name] = 0
        self._write(orjson.dumps({"table": name, "columns": list(columns)}, option=_NEWLINE))

    def add(self, rows: Sequence[Values]) -> None:
        """Add rows to the table that was begun last."""
        self.rows[self._table] += len(rows)
        self._write(b"".join(orjson.dumps(row, option=_NEWLINE) for row in rows))

    def end(self) -> None:
        """Write the last line, with the row counts and the MAC."""
        end = {"rows": self.rows, "mac": self._mac.hexdigest()}
        self._write(orjson.dumps(end, option=_NEWLINE))

    def _write(self, lines: bytes) -> None:
        self._mac.update(lines)
        try:
            self._file.write(lines)
        except OSError as error:
            raise BackupError(f"the backup cannot be written ({error.strerror})") from error


class BackupReader:
    """Reads a backup from its file. It can be read several times."""

    def __init__(self, path: Path, file: gzip.GzipFile) -> None:
        """Read the header.

        Raises: BackupError when it is no backup, or of a format that this version does not know.
        """
        self._path = path
        self._file = file
        self.header = self._read_header()

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open a backup for the block.

        Raises: BackupError as the constructor, and when the file cannot be read.
        """
        try:
            file = gzip.open(path, "rb")  # noqa: SIM115 - closed below
        except OSError as error:
            raise BackupError(f"{path} cannot be read ({error.strerror})") from error
        with file:
            yield cls(path, file)

    def batches(self, key: bytes) -> Iterator[Batch]:
        """All rows in batches. Only after the last batch is it certain that the backup is intact.

        Raises: BackupError when it is damaged.
        """
        mac = hmac.new(key, digestmod="sha256")
        counted: dict[str, int] = {}
        batch = Batch("", (), [])
        with self._named_damage():
            for line in self._lines():
                value = orjson.loads(line)
                is_row = isinstance(value, list)
                if is_row:
                    self._check_row(batch, value)
                    batch.rows.append(value)
                if batch.rows and (not is_row or len(batch.rows) == ROWS_AT_ONCE):
                    counted[batch.table] += len(batch.rows)
                    yield batch
                    batch = Batch(batch.table, batch.columns, [])
                if not is_row and "mac" in value:
                    self._check_end(value, mac.hexdigest(), counted)
                    return
                if not is_row and "table" in value:
                    batch = Batch(str(value["table"]), tuple(value["columns"]), [])
                    counted[batch.table] = 0
                mac.update(line)
        raise self._damaged("its end is missing")

    def _read_header(self) -> Header:
        try:
            header = orjson.loads(next(self._lines(), b""))
            is_ours = isinstance(header, dict) and header.get("format") == FORMAT
        except (EOFError, OSError, ValueError, zlib.error):
            is_ours = False
        if not is_ours:
            raise BackupError(f"{self._path} is not a backup of Makegood")
        if header.get("version") != FORMAT_VERSION:
            raise BackupError(
                f"{self._path} has the format {header.get('version')}, "
                f"and this version of Makegood reads {FORMAT_VERSION}: "
                f"restore it with the version that made it, {header.get('made_by')}"
            )
        with self._named_damage():
            return Header(header["made_at"], header["made_by"], header["revision"], header["key"])

    def _lines(self) -> Iterator[bytes]:
        self._file.seek(0)
        while line := self._file.readline(LONGEST_LINE_BYTES):
            yield line

    def _check_row(self, batch: Batch, row: Values) -> None:
        if len(row) != len(batch.columns):
            raise self._damaged("a row has not the columns of its table")

    def _check_end(self, end: dict[str, Any], mac: str, counted: dict[str, int]) -> None:
        # Reading to the end also verifies the checksum of gzip.
        if self._file.readline(LONGEST_LINE_BYTES):
            raise self._damaged("something follows its end")
        if end["rows"] != counted or not hmac.compare_digest(str(end["mac"]), mac):
            raise self._damaged("its checksum does not fit")

    @contextmanager
    def _named_damage(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, zlib.error, gzip.BadGzipFile, ValueError, KeyError, TypeError) as error:
            is_short = isinstance(error, EOFError)
            problem = "it ends too early" if is_short else "it cannot be unpacked"
            raise self._damaged(problem) from error
        except OSError as error:
            raise BackupError(f"{self._path} cannot be read ({error.strerror})") from error

    def _damaged(self, how: str) -> BackupError:
        return BackupError(
            f"{self._path} is damaged: {how}; nothing was restored, take another copy of it"
        )


@contextmanager
def written_whole(path: Path) -> Iterator[gzip.GzipFile]:
    """A new file that only its owner may read, written atomically.

    It gets its name, and is on disk, after the block has ended without an exception.

    Raises: BackupError when it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with gzip.GzipFile(
                filename="", fileobj=file, mode="wb", compresslevel=COMPRESSION, mtime=0
            ) as compressed:
                yield compressed
            file.flush()
            os.fsync(file.fileno())
        rename_on_disk(unfinished, path)
    except OSError as error:
        raise BackupError(f"{path} cannot be written ({error.strerror})") from error
    finally:
        unfinished.unlink(missing_ok=True)


def fingerprint(key: bytes) -> str:
    """The fingerprint of a backup's key. It reveals nothing about the key or the root secret."""
    return hmac.new(key, b"fingerprint", "sha256").hexdigest()[:FINGERPRINT_CHARACTERS]
