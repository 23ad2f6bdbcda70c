"""What the values of settings may be: one type for each kind, which refuses what is wrong without telling a secret value.

`settings` gives them names and defaults; `logs` knows the two of logging.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

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


def one_line(value: object) -> object:
    """A text without the white space around it; anything else as it is. Raises: ValueError for a text of more than one line."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text.isprintable():
        raise ValueError("must be one line of printable characters: look for a line break or a control character in it")
    return text


def no_service_link(value: object) -> object:
    """What is no number of a port, with a word on where it comes from. Raises: ValueError."""
    if isinstance(value, str) and _SERVICE_LINK.match(value):
        raise ValueError(
            "must be a port number; Kubernetes sets this variable for a Service of that name: rename the Service, "
            "or set enableServiceLinks: false in the pod"
        )
    return value


def header_text(value: SecretStr) -> SecretStr:
    """A credential that goes into a header. Raises: ValueError."""
    if not _HEADER_TEXT.fullmatch(value.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces")
    return value


def host_and_port(value: str) -> str:
    """`host:port`. Raises: ValueError."""
    found = _HOST_AND_PORT.fullmatch(value)
    if found is None or not 1 <= int(found["port"]) <= MAXIMUM_PORT:
        raise ValueError("must look like temporal.example.com:7233, without a scheme")
    return value


def web_origin(value: str) -> str:
    """The URL of a site, without a slash at its end. Raises: ValueError."""
    try:
        parts = urlsplit(value)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or parts.query or parts.fragment or parts.username is not None or re.search(r"[\s\\\"<>]", value):
        raise ValueError("must look like https://makegood.example.com")
    return value.rstrip("/")


def _service_url(*schemes: str, options: dict[str, frozenset[str]], has_path: bool) -> Callable[[SecretStr], SecretStr]:
    """Judges the URL of a service whole.

    `options` are the names of the query that have few values; with `has_path` other names may be there.
    """

    def judge(value: SecretStr) -> SecretStr:
        scheme, separator, rest = value.get_secret_value().partition("://")
        if scheme not in schemes or not separator:
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        if scheme == "sqlite":
            return value
        authority, rest = _AUTHORITY.fullmatch(rest).groups()  # type: ignore[union-attr]  # it matches every text
        user, _, hosts = authority.rpartition("@")
        is_misread = "#" in rest or ("@" in rest and not user) or _BAD_USER.search(user)
        if is_misread or not all(_HOST.fullmatch(host) and _port_of(host) <= MAXIMUM_PORT for host in hosts.split(",")):
            raise ValueError(
                "cannot be read: it must look like scheme://user:password@host:port, with the reserved characters of user and "
                "password percent-encoded (@ is %40, : is %3A, / is %2F, # is %23, ? is %3F, % is %25)"
            )
        _judge_options(rest, options, has_path=has_path)
        return value

    return judge


def _judge_options(rest: str, options: dict[str, frozenset[str]], *, has_path: bool) -> None:
    path, _, query = rest.partition("?")
    if not has_path and path not in ("", "/"):
        raise ValueError("must have no path")
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in options and text not in options[name]:
            raise ValueError(f"has an unknown value of {name}: it must be {', '.join(sorted(options[name]))}")
        if name not in options and not has_path:
            raise ValueError(f"has an option that is unknown; it may have {', '.join(sorted(options))}")


def _port_of(host: str) -> int:
    port = host.rpartition(":")[2]
    return int(port) if port.isdecimal() and not host.endswith("]") else 0


MAXIMUM_PORT = 65_535
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://")
_HEADER_TEXT = re.compile(r"[!-~]+")
_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_AUTHORITY = re.compile(r"([^/?#]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^:@\[\]]*)(?::[0-9]{1,5})?")
_BAD_USER = re.compile(r"[][@]|%(?![0-9A-Fa-f]{2})")
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
_SESSION_KINDS = frozenset({"any", "primary", "standby", "read-write", "read-only", "prefer-standby"})
_DATABASE = _service_url(
    "sqlite", "postgresql", options={"sslmode": _SSL_MODES, "target_session_attrs": _SESSION_KINDS}, has_path=True
)
_MAIL = _service_url("smtp", "smtps", options={"starttls": frozenset({"auto", "required", "never"})}, has_path=False)
Port = Annotated[int, BeforeValidator(no_service_link), Field(ge=1, le=MAXIMUM_PORT)]
Seconds = Annotated[int, Field(ge=1)]
Network = IPv4Network | IPv6Network
# NoDecode: otherwise pydantic-settings wants JSON where the contract has a comma-separated list.
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_split_commas)]
Delays = Annotated[tuple[Annotated[int, Field(ge=0)], ...], NoDecode, BeforeValidator(_split_commas), Field(min_length=1)]
RootSecretText = Annotated[SecretStr, AfterValidator(_long_enough)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_DATABASE)]
SmtpUrl = Annotated[SecretStr, AfterValidator(_MAIL)]
HeaderSecret = Annotated[SecretStr, AfterValidator(header_text)]
HostAndPort = Annotated[str, AfterValidator(host_and_port)]
WebOrigin = Annotated[str, AfterValidator(web_origin)]
