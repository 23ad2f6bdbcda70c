"""The versions of Makegood and of what it is built on."""

import platform
from importlib.metadata import version

DEPENDENCIES = ("temporalio", "fastapi", "uvicorn", "sqlmodel", "httpx", "pydantic")


def installed_versions() -> dict[str, str]:
    """The version of Makegood, Python and the main dependencies, by name."""
    return {
        "makegood": version("makegood"),
        "python": platform.python_version(),
        **{name: version(name) for name in DEPENDENCIES},
    }
