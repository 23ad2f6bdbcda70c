"""The data directory of `makegood up`: made private, held by one supervisor at a time, given its root secret.

It never shows the secret, and replaces one only when asked to (`makegood secret rotate`). Called by `cli.up.run` before anything
is started.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from config.settings import Settings
from store.db.fsync import rename_on_disk

LOCK_NAME = "lock"
SECRET_BYTES = 48


class DataDirectoryError(Exception):
    """The data directory cannot be used; the message says why and what helps."""


@contextlib.contextmanager
def held(data_dir: Path) -> Iterator[None]:
    """Hold the directory, made if it is missing, for this process alone; let go however the process ends.

    Raises: DataDirectoryError when another process holds it, or when it cannot be made or written.
    """
    lock = _opened_lock(data_dir)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
            raise DataDirectoryError(
                f"Makegood is already running in {data_dir} (process {holder}): use it, stop it, "
                "or set MAKEGOOD_DATA_DIR to another directory"
            ) from None
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def ensure_secret_key(settings: Settings) -> bool:
    """Write a new root secret, readable by its owner alone, when none is set or stored; True when it did.

    Raises: DataDirectoryError when the store is older than the secret, which then was lost and is not to be replaced.
    """
    if settings.secret_key is not None or settings.secret_key_path.exists():
        return False
    store = settings.data_dir / "makegood.db"
    if store.exists():
        raise DataDirectoryError(
            f"{settings.secret_key_path} is gone, but {store} was sealed with it: put the file back or set "
            f"MAKEGOOD_SECRET_KEY; to begin anew, move {settings.data_dir} away"
        )
    _write_private(settings.secret_key_path, secrets.token_urlsafe(SECRET_BYTES))
    return True


def replace_secret_key(settings: Settings) -> None:
    """Write a new root secret in the place of the old one, which is kept beside it; the directory must be held."""
    # The old one first: whenever this is cut off, the files hold what opens the store.
    _write_private(settings.previous_secret_key_path, settings.read_secret_key())
    _write_private(settings.secret_key_path, secrets.token_urlsafe(SECRET_BYTES))


def _opened_lock(data_dir: Path) -> int:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataDirectoryError(
            f"{data_dir} cannot be used as the data directory ({error.strerror}): set MAKEGOOD_DATA_DIR to one that can"
        ) from None


def _write_private(path: Path, text: str) -> None:
    """Write it whole or not at all, on disk before this returns."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    rename_on_disk(unfinished, path)
