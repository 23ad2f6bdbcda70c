"""The data directory of `makegood up`: creates it, locks it and writes its root secret.

One supervisor locks it at a time. The secret is never printed, and only `makegood secret rotate`
replaces it. `cli.up.run` calls this before it starts any process.
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
    """The data directory cannot be used; the message has the reason and the fix."""


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Lock the directory for this process, creating it if missing. The lock ends with the process.

    Raises: DataDirectoryError when another process has the lock, or when it cannot be created or
    written.
    """
    lock = _open_lock_file(data_dir)
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
    """Write a new root secret, mode 0600, if none is set or stored; returns True if it did.

    Raises: DataDirectoryError when a store exists without its secret: a new secret could not
    decrypt it.
    """
    if settings.secret_key is not None or settings.secret_key_path.exists():
        return False
    store = settings.data_dir / "makegood.db"
    if store.exists():
        raise DataDirectoryError(
            f"{settings.secret_key_path} is gone, but {store} was encrypted with it: restore the"
            " file or set MAKEGOOD_SECRET_KEY; to start with an empty store, move"
            f" {settings.data_dir} away"
        )
    _write_private(settings.secret_key_path, secrets.token_urlsafe(SECRET_BYTES))
    return True


def replace_secret_key(settings: Settings) -> None:
    """Replace the root secret and keep the old one beside it. The caller must have locked the
    directory.
    """
    # The old one is copied first: after a crash at any point, the files can still decrypt the
    # store.
    _write_private(settings.previous_secret_key_path, settings.read_secret_key())
    _write_private(settings.secret_key_path, secrets.token_urlsafe(SECRET_BYTES))


def _open_lock_file(data_dir: Path) -> int:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataDirectoryError(
            f"{data_dir} cannot be used as the data directory ({error.strerror}): set"
            " MAKEGOOD_DATA_DIR to another directory"
        ) from None


def _write_private(path: Path, text: str) -> None:
    """Write the file atomically and durably."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    rename_on_disk(unfinished, path)
