"""Renames a finished file durably: after a power cut the whole file exists, or none of it.

Used for mails, backups and the root secret.
"""

import os
from pathlib import Path


def rename_on_disk(unfinished: Path, path: Path) -> None:
    """Rename `unfinished`, whose content is already on disk, to `path` and sync the directory."""
    unfinished.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
