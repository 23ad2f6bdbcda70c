"""Reads the log files of `makegood up`: the last lines, and those that are appended later.

`cli.logs.writing` names and rotates the files. A reader keeps its file open after it was renamed,
and reads it to its end before it opens the next newer one.
"""

import heapq
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

from cli.logs.writing import OLDER_FILES

SUFFIX = ".log"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log `name`. `at` is when it was written: ISO 8601, UTC."""

    name: str
    at: str
    text: str


def log_names(directory: Path) -> list[str]:
    """The names of the logs that exist, sorted; empty when the directory does not."""
    return sorted(path.name.removesuffix(SUFFIX) for path in directory.glob(f"*{SUFFIX}"))


def merged(logs: Iterable[list[LogLine]]) -> list[LogLine]:
    """The lines of several logs in the order of time. The order within a log stays."""
    return list(heapq.merge(*logs, key=attrgetter("at")))


class LogReader:
    """Reads one log, from its oldest file on."""

    def __init__(self, directory: Path, name: str) -> None:
        """The log `name` of the directory. Its files may not exist yet."""
        newest = directory / f"{name}{SUFFIX}"
        older = (newest.with_name(f"{newest.name}.{n}") for n in range(1, OLDER_FILES + 1))
        self._newest_first = (newest, *older)
        self._name = name
        self._file: BinaryIO | None = None
        self._unfinished = b""
        self._last_at = ""

    def next_lines(self, *, last: int | None = None) -> list[LogLine]:
        """The lines that were written since the last call, at first all; or the `last` of them."""
        return [self._line(line) for line in deque(self._unread(), maxlen=last)]

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.close()

    def _unread(self) -> Iterator[bytes]:
        yield from self._rest_of_file()
        while (newer := self._next_newer()) is not None:
            # Lines that were written after the reading and before the renaming.
            yield from self._rest_of_file()
            self.close()
            self._file = newer
            yield from self._rest_of_file()

    def _rest_of_file(self) -> Iterator[bytes]:
        for line in self._file or ():
            if line.endswith(b"\n"):
                yield self._unfinished + line
                self._unfinished = b""
            else:
                self._unfinished += line

    def _next_newer(self) -> BinaryIO | None:
        """The file that follows the open one, opened; the oldest file when none is open."""
        inodes = [_inode(path) for path in self._newest_first]
        existing = [path for path, inode in zip(self._newest_first, inodes, strict=True) if inode]
        opened = None if self._file is None else os.fstat(self._file.fileno()).st_ino
        if opened in inodes:
            existing = list(self._newest_first[: inodes.index(opened)])
        try:
            return existing[-1].open("rb") if existing else None
        except FileNotFoundError:  # renamed meanwhile; the next call finds it
            return None

    def _line(self, line: bytes) -> LogLine:
        text = line.decode(errors="replace").rstrip("\r\n")
        at, _, rest = text.partition(" ")
        if not _TIME.fullmatch(at):  # what a full disk left of a line
            return LogLine(self._name, self._last_at, text)
        self._last_at = at
        return LogLine(self._name, at, rest)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
