"""What the values of settings may be: one type for each kind, which refuses what is wrong without telling a secret value.

`settings` gives them names and defaults; `logs` knows the two of logging.
"""

from collections.abc import Callable
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

SECRET_KEY_MIN_LENGTH = 32


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line looks: one JSON object, or text for people."""

    JSON = "json"
    CONSOLE = "console"


def _split_commas(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _long_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < SECRET_KEY_MIN_LENGTH:
        raise ValueError(f"needs {SECRET_KEY_MIN_LENGTH} characters or more")
    return value


def _of_scheme(*schemes: str) -> Callable[[SecretStr], SecretStr]:
    def judge(value: SecretStr) -> SecretStr:
        if urlsplit(value.get_secret_value()).scheme not in schemes:
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return value

    return judge


Port = Annotated[int, Field(ge=1, le=65_535)]
Seconds = Annotated[int, Field(ge=1)]
Network = IPv4Network | IPv6Network
# NoDecode: otherwise pydantic-settings wants JSON where the contract has a comma-separated list.
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_split_commas)]
Delays = Annotated[tuple[Annotated[int, Field(ge=0)], ...], NoDecode, BeforeValidator(_split_commas), Field(min_length=1)]
RootSecretText = Annotated[SecretStr, AfterValidator(_long_enough)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_of_scheme("sqlite", "postgresql"))]
SmtpUrl = Annotated[SecretStr, AfterValidator(_of_scheme("smtp", "smtps"))]
