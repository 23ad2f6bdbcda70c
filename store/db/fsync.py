"""How a file that was written under another name gets its own, so that a power cut leaves the whole of it or nothing.

Called by whoever keeps files: mails, backups, the root secret.
"""

import os
from pathlib import Path


def rename_on_disk(unfinished: Path, path: Path) -> None:
    """Give a file, whose content is on disk, its name, which is on disk too before this returns."""
    unfinished.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
