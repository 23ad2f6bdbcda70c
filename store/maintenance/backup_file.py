"""The file of a backup: compressed JSON lines, authenticated with a key made from the root secret; written whole or not at all.

    {"format": "makegood-backup", "version": 1, "made_at": …, "made_by": …, "revision": …, "key": a fingerprint}
    {"table": "projects", "columns": ["id", …]}
    ["prj_…", …]                                       a line for each row, its values as the columns have them
    {"rows": {"projects": 1, …}, "mac": …}             the end: HMAC-SHA256 of every line before it

It holds no key, and no line of it may be changed by who has none. Knows no table and opens no store: `store.maintenance.backup`
does.
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
# The longest row has a sealed payload of 32 KiB; a line beyond this is damage, and is not read into memory.
LONGEST_LINE_BYTES = 1 << 20
COMPRESSION = 5
FINGERPRINT_CHARACTERS = 32
_NEWLINE = orjson.OPT_APPEND_NEWLINE

Values = Sequence[Any]  # Any: JSON, as a row's columns have it


class BackupError(Exception):
    """A backup cannot be written, read or restored; the message is one line that says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a backup says of itself. `made_by` is the version of Makegood, `revision` that of its tables."""

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
    """Writes the lines of one backup into an opened file. `rows` counts those of each table so far."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self._mac = hmac.new(b"", digestmod="sha256")
        self.rows: dict[str, int] = {}
        self._table = ""

    def begin(self, *, key: bytes, made_at: datetime, made_by: str, revision: str) -> None:
        """The header, before anything else; `key` authenticates all of it."""
        self._mac = hmac.new(key, digestmod="sha256")
        told = {"made_at": to_iso(made_at), "made_by": made_by, "revision": revision, "key": fingerprint(key)}
        self._write(orjson.dumps({"format": FORMAT, "version": FORMAT_VERSION, **told}, option=_NEWLINE))

    def begin_table(self, name: str, columns: Sequence[str]) -> None:
        """The rows added from here on are of this table."""
        self._table = name
        self.rows[name] = 0
        self._write(orjson.dumps({"table": name, "columns": list(columns)}, option=_NEWLINE))

    def add(self, rows: Sequence[Values]) -> None:
        """Rows of the table that was begun last."""
        self.rows[self._table] += len(rows)
        self._write(b"".join(orjson.dumps(row, option=_NEWLINE) for row in rows))

    def end(self) -> None:
        """The end, after everything else."""
        self._write(orjson.dumps({"rows": self.rows, "mac": self._mac.hexdigest()}, option=_NEWLINE))

    def _write(self, lines: bytes) -> None:
        self._mac.update(lines)
        try:
            self._file.write(lines)
        except OSError as error:
            raise BackupError(f"the backup cannot be written ({error.strerror})") from error


class BackupReader:
    """Reads a backup from its file, as often as it is asked to."""

    def __init__(self, path: Path, file: gzip.GzipFile) -> None:
        """Raises: BackupError when it is no backup, or of a format that this version does not know."""
        self._path = path
        self._file = file
        self.header = self._read_header()

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """The backup while the block runs. Raises: BackupError as the constructor, and when the file cannot be read."""
        try:
            file = gzip.open(path, "rb")  # noqa: SIM115 - closed below; only its opening may be blamed on the file
        except OSError as error:
            raise BackupError(f"{path} cannot be read ({error.strerror})") from error
        with file:
            yield cls(path, file)

    def batches(self, key: bytes) -> Iterator[Batch]:
        """All its rows, from the first; it is whole and unchanged only once the last was given.

        Raises: BackupError when it is not.
        """
        mac = hmac.new(key, digestmod="sha256")
        counted: dict[str, int] = {}
        batch = Batch("", (), [])
        with self._named_damage():
            for line in self._lines():
                said = orjson.loads(line)
                is_row = isinstance(said, list)
                if is_row:
                    self._check_row(batch, said)
                    batch.rows.append(said)
                if batch.rows and (not is_row or len(batch.rows) == ROWS_AT_ONCE):
                    counted[batch.table] += len(batch.rows)
                    yield batch
                    batch = Batch(batch.table, batch.columns, [])
                if not is_row and "mac" in said:
                    self._check_end(said, mac.hexdigest(), counted)
                    return
                if not is_row and "table" in said:
                    batch = Batch(str(said["table"]), tuple(said["columns"]), [])
                    counted[batch.table] = 0
                mac.update(line)
        raise self._damaged("its end is missing")

    def _read_header(self) -> Header:
        try:
            said = orjson.loads(next(self._lines(), b""))
            is_ours = isinstance(said, dict) and said.get("format") == FORMAT
        except (EOFError, OSError, ValueError, zlib.error):
            is_ours = False
        if not is_ours:
            raise BackupError(f"{self._path} is not a backup of Makegood")
        if said.get("version") != FORMAT_VERSION:
            raise BackupError(
                f"{self._path} has the format {said.get('version')}, and this version of Makegood reads {FORMAT_VERSION}: "
                f"restore it with the version that made it, {said.get('made_by')}"
            )
        with self._named_damage():
            return Header(said["made_at"], said["made_by"], said["revision"], said["key"])

    def _lines(self) -> Iterator[bytes]:
        self._file.seek(0)
        while line := self._file.readline(LONGEST_LINE_BYTES):
            yield line

    def _check_row(self, batch: Batch, row: Values) -> None:
        if len(row) != len(batch.columns):
            raise self._damaged("a row has not the columns of its table")

    def _check_end(self, said: dict[str, Any], mac: str, counted: dict[str, int]) -> None:
        # Reading on checks the file's own sum as well.
        if self._file.readline(LONGEST_LINE_BYTES):
            raise self._damaged("something follows its end")
        if said["rows"] != counted or not hmac.compare_digest(str(said["mac"]), mac):
            raise self._damaged("its checksum does not fit")

    @contextmanager
    def _named_damage(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, zlib.error, gzip.BadGzipFile, ValueError, KeyError, TypeError) as error:
            raise self._damaged("it ends too early" if isinstance(error, EOFError) else "it cannot be unpacked") from error
        except OSError as error:
            raise BackupError(f"{self._path} cannot be read ({error.strerror})") from error

    def _damaged(self, how: str) -> BackupError:
        return BackupError(f"{self._path} is damaged: {how}; nothing was restored, take another copy of it")


@contextmanager
def written_whole(path: Path) -> Iterator[gzip.GzipFile]:
    """A new file for its owner alone, which has its name, and is on disk, once the block has ended without an exception.

    Raises: BackupError when it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=COMPRESSION, mtime=0) as compressed:
                yield compressed
            file.flush()
            os.fsync(file.fileno())
        rename_on_disk(unfinished, path)
    except OSError as error:
        raise BackupError(f"{path} cannot be written ({error.strerror})") from error
    finally:
        unfinished.unlink(missing_ok=True)


def fingerprint(key: bytes) -> str:
    """By which a backup's key is recognised; says nothing of the key, nor of the root secret."""
    return hmac.new(key, b"fingerprint", "sha256").hexdigest()[:FINGERPRINT_CHARACTERS]
