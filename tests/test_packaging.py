"""What `pip install .` puts into the image:

every module, template, picture and migration of the packages, and nothing else.
"""

import shutil
import subprocess
import zipfile
from pathlib import Path

from tests.support.processes import ROOT, python

PACKAGES = (
    "domain",
    "egress",
    "store",
    "workflows",
    "activities",
    "worker",
    "api",
    "cli",
    "examples",
)
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "*.md")


def test_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in (
        *PACKAGES,
        *(path.name for path in ROOT.glob("*.py")),
        "pyproject.toml",
        "README.md",
    ):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=LEFT_BEHIND)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    command = python(
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--no-cache-dir",
    )
    # pip warns of what concerns it, such as running as root: that is not ours to fail on.
    wanted = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}

    built = subprocess.run(
        [*command, "--wheel-dir", str(tmp_path), str(source)],
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == wanted - {"pyproject.toml", "README.md"}
