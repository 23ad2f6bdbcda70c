"""Reads the settings for a command, and silences logs. Errors become `CommandFailed`."""

import os
from typing import TYPE_CHECKING

from cli.output import CommandFailed, ExitCode

if TYPE_CHECKING:
    from config.settings import Settings


def read_settings() -> "Settings":
    """The settings of a command: those of the instance that `makegood up` runs in the same data
    directory, and this process's own.

    Raises: CommandFailed when one is invalid; the message names its variable.
    """
    from cli.up.instance_file import DECIDED_BY_INSTANCE, read_instance

    settings = read_own_settings()
    instance = read_instance(settings.data_dir)
    if instance is None:
        return settings
    return _load(
        {
            name: value
            for name, value in instance.variables.items()
            if name in DECIDED_BY_INSTANCE or not os.environ.get(name)
        }
    )


def read_own_settings() -> "Settings":
    """The settings of this process alone. A service opens nothing because another one runs.

    Raises: CommandFailed when one is invalid; the message names its variable.
    """
    return _load({})


def read_whole_settings() -> "Settings":
    """The settings of a service that needs the root secret.

    Raises: CommandFailed when a setting is invalid, or when there is no root secret.
    """
    from config.secret_files import SettingsError

    settings = read_own_settings()
    try:
        settings.read_secret_key()
    except SettingsError as error:
        raise CommandFailed(str(error)) from None
    return settings


def _load(variables: dict[str, str]) -> "Settings":
    from config.logging import silence_logging
    from config.secret_files import SettingsError
    from config.settings import load_settings

    silence_logging()
    try:
        return load_settings(variables)
    except SettingsError as error:
        raise CommandFailed(
            f"invalid settings: {str(error).replace(chr(10), '; ')}", ExitCode.USAGE
        ) from None
