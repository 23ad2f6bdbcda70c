"""Reads the settings for a command, and silences logs. Errors become `CommandFailed`."""

from typing import TYPE_CHECKING

from cli.output import CommandFailed, ExitCode

if TYPE_CHECKING:
    from config.settings import Settings


def read_settings() -> "Settings":
    """The settings of this process.

    Raises: CommandFailed when one is invalid; the message names its variable.
    """
    from config.logging import silence_logging
    from config.secret_files import SettingsError
    from config.settings import load_settings

    silence_logging()
    try:
        return load_settings()
    except SettingsError as error:
        raise CommandFailed(
            f"invalid settings: {str(error).replace(chr(10), '; ')}", ExitCode.USAGE
        ) from None


def read_whole_settings() -> "Settings":
    """The settings of a process that needs the root secret.

    Raises: CommandFailed when a setting is invalid, or when there is no root secret.
    """
    from config.secret_files import SettingsError

    settings = read_settings()
    try:
        settings.read_secret_key()
    except SettingsError as error:
        raise CommandFailed(str(error)) from None
    return settings
