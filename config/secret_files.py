"""Reads secrets from files, as Docker and Kubernetes mount them."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from config.fields import SECRET_KEY_MIN_LENGTH

SECRET_FILE_CHARACTERS = 65_536
CERTIFICATE_BYTES = 1_048_576


class SettingsError(Exception):
    """A setting is missing or wrong; the message names its variable and never shows its value."""


class SecretFiles(PydanticBaseSettingsSource):
    """Reads the secrets whose variable with `_FILE` names a file.

    `variables` names the variable of each field that may come from a file.
    """

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._variables = variables

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Required by the library; `Any` is its signature."""
        return secret_from_file(self._variables[field_name]), field_name, False

    def __call__(self) -> dict[str, Any]:
        """The secrets found, by field; `Any` is the library's signature."""
        found = {field: secret_from_file(name) for field, name in self._variables.items()}
        return {field: value for field, value in found.items() if value is not None}


def secret_from_file(name: str) -> str | None:
    """The secret in the file that the variable `name` + `_FILE` names; None when that is not set.

    Raises: SettingsError when both variables are set, or the file holds no secret.
    """
    path = os.environ.get(f"{name}_FILE")
    if not path:
        return None
    if os.environ.get(name):
        raise SettingsError(f"{name} and {name}_FILE are both set: keep one")
    try:
        value = read_text(Path(path))
    except OSError as error:
        raise SettingsError(f"{name}_FILE: {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{name}_FILE: {path} cannot be read (it is not UTF-8 text)") from None
    if not value:
        raise SettingsError(f"{name}_FILE: {path} is empty")
    return value


def read_root_secret(path: Path) -> str:
    """The root secret in a file of the data directory.

    Raises: SettingsError when the file cannot be read, or the secret is too short.
    """
    try:
        secret_key = read_text(path)
    except OSError as error:
        raise SettingsError(
            f"MAKEGOOD_SECRET_KEY is not set and {path} cannot be read ({error.strerror}): "
            "run `makegood up` once, or set MAKEGOOD_SECRET_KEY or MAKEGOOD_SECRET_KEY_FILE"
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(
            f"{path} cannot be read (it is not UTF-8 text): restore it from your backup"
        ) from None
    if len(secret_key) < SECRET_KEY_MIN_LENGTH:
        raise SettingsError(
            f"{path} holds fewer than {SECRET_KEY_MIN_LENGTH} characters: "
            "restore it from your backup; without the right key no stored secret can be read"
        )
    return secret_key


def read_certificate(path: Path) -> bytes:
    """The content of a file of certificates or of a private key.

    Raises: OSError, also for a file that is too long or has no end.
    """
    with path.open("rb") as file:
        content = file.read(CERTIFICATE_BYTES + 1)
    if len(content) > CERTIFICATE_BYTES:
        raise OSError(errno.EFBIG, "it is longer than any certificate", str(path))
    return content


def read_text(path: Path) -> str:
    """The text of a file without the white space around it.

    Raises: OSError, also for a file that is too long for a secret or has no end;
    UnicodeDecodeError.
    """
    with path.open(encoding="utf-8") as file:
        text = file.read(SECRET_FILE_CHARACTERS + 1)
    if len(text) > SECRET_FILE_CHARACTERS:
        raise OSError(errno.EFBIG, "it is longer than any secret")
    return text.strip()
