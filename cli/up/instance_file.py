"""The file in which `makegood up` leaves its addresses and settings for the commands beside it.

It holds variables and their text. Of a secret it holds the variable's name alone. It counts only
while the process that wrote it holds the data directory. `cli.settings` and `cli.demo` read it;
`cli.up.run` writes and removes it.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.up.data_directory import LOCK_NAME
from config.settings import SECRET_FIELDS, Settings, environment_name, environment_names

FILE_NAME = "instance.json"
# Which addresses are open is the instance's answer, whatever the command's environment says.
DECIDED_BY_INSTANCE = ("MAKEGOOD_EGRESS_ALLOW", "MAKEGOOD_EGRESS_ALLOW_TEST")


@dataclass(frozen=True, slots=True)
class RunningInstance:
    """What a running `makegood up` left: its variables, and the names of those that are secret."""

    variables: Mapping[str, str]
    secrets: frozenset[str]


@contextlib.contextmanager
def announced(settings: Settings) -> Iterator[None]:
    """Leave the settings of this process in the data directory during the block."""
    path = settings.data_dir / FILE_NAME
    unfinished = path.with_name(f"{FILE_NAME}.new")
    content = {
        "process": os.getpid(),
        "variables": _variables(settings),
        "secrets": sorted(_given_secrets(settings)),
    }
    unfinished.write_text(json.dumps(content, indent=2), encoding="utf-8")
    unfinished.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def read_instance(data_dir: Path) -> RunningInstance | None:
    """The instance that runs in the data directory; None when none runs."""
    try:
        content = json.loads((data_dir / FILE_NAME).read_text(encoding="utf-8"))
        process = int(content["process"])
        holder = int((data_dir / LOCK_NAME).read_text(encoding="utf-8"))
        variables = {str(name): str(value) for name, value in content["variables"].items()}
        secrets = frozenset(map(str, content.get("secrets", ())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if process != holder or not _is_alive(process):
        return None
    return RunningInstance(variables, secrets)


def _variables(settings: Settings) -> dict[str, str]:
    secret = {environment_name(name) for name in SECRET_FIELDS} | {"MAKEGOOD_DATA_DIR"}
    names = [name for name in environment_names() if name not in secret]
    given = {
        name: value
        for name in names
        if not name.endswith("_FILE") and (value := os.environ.get(name))
    }
    open_ranges = (settings.egress_allow, settings.egress_allow_test)
    decided = {
        name: ",".join(map(str, ranges))
        for name, ranges in zip(DECIDED_BY_INSTANCE, open_ranges, strict=True)
    }
    return given | decided


def _given_secrets(settings: Settings) -> set[str]:
    return {environment_name(name) for name in SECRET_FIELDS if getattr(settings, name) is not None}


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
