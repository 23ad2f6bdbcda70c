"""Writes what each child of `makegood up` prints to its own file, `DATA_DIR/logs/NAME.log`.

Each line begins with the time at which it was read. A full file is renamed to `NAME.log.1` and so
on; the oldest is removed. The standard library does this safely for one writer. `makegood up` is
the only one: a child writes to a pipe, and nobody else opens the files for writing.
"""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterable
from logging.handlers import RotatingFileHandler
from pathlib import Path

DIRECTORY_NAME = "logs"
FILE_BYTES = 5 * 1024 * 1024
OLDER_FILES = 3


class ChildLogs:
    """The open log files of all children."""

    def __init__(
        self,
        directory: Path,
        names: Iterable[str],
        *,
        on_problem: Callable[[str], None],
        file_bytes: int = FILE_BYTES,
    ) -> None:
        """Create the directory and a file for each name.

        `on_problem` gets a sentence when a file can no longer be written. Raises: OSError when a
        file cannot be created.
        """
        directory.mkdir(mode=0o700, exist_ok=True)
        self._on_problem = on_problem
        self._files = {name: _File(directory / f"{name}.log", file_bytes) for name in names}

    def path(self, name: str) -> Path:
        """The file that has the child's newest lines."""
        return self._files[name].path

    def write(self, name: str, line: str) -> None:
        """Append a line. A file that cannot be written is reported once, until it can be again."""
        file = self._files[name]
        was_failing = file.problem is not None
        file.write(line)
        if file.problem is not None and not was_failing:
            self._on_problem(f"{file.path} cannot be written: {file.problem.strerror}")

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            # On a full disk, closing fails too.
            with contextlib.suppress(OSError):
                file.close()


class _File(RotatingFileHandler):
    """One log file. `problem` is why the last line was not written."""

    def __init__(self, path: Path, file_bytes: int) -> None:
        super().__init__(path, maxBytes=file_bytes, backupCount=OLDER_FILES, encoding="utf-8")
        formatter = logging.Formatter(
            "%(asctime)s.%(msecs)03dZ %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        self.setFormatter(formatter)
        self.path = path
        self.problem: OSError | None = None

    def write(self, line: str) -> None:
        """Append the line, with the time before it."""
        self.problem = None
        self.handle(logging.makeLogRecord({"msg": line}))

    def handleError(self, record: logging.LogRecord) -> None:
        """Keep an error of the disk. The library calls this within its `except`."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            raise
        self.problem = error
