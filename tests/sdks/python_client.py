"""The Python client, loaded by its path: `sdks` is no package."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from tests.sdks.merchant import SDKS


def named(value: object) -> str:
    """The same in every process, where `repr` has the address of an object."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))[:60]


def load(path: Path) -> ModuleType:
    """The client, without a path that every other test would see; under its own name, so that it
    can be pickled.
    """
    if path.stem in sys.modules:
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


client = load(SDKS / "python" / "makegood_client.py")
