"""The types of settings. Each rejects wrong values without showing a secret value.

`config.settings` gives them names and defaults.
"""

import re
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from config.service_urls import MAXIMUM_PORT, check_database_url, check_mail_url, is_host
from store.people.email_addresses import canonical_address

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
    return (
        tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, str)
        else value
    )


def _long_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < SECRET_KEY_MIN_LENGTH:
        raise ValueError(f"needs {SECRET_KEY_MIN_LENGTH} characters or more")
    return value


def one_line(value: object) -> object:
    """Strip a text; return any other value unchanged.

    Raises: ValueError for a text of more than one line.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text.isprintable():
        raise ValueError(
            "must be one line of printable characters: look for a line break or a control character"
            " in it"
        )
    return text


def no_service_link(value: object) -> object:
    """Reject a variable that Kubernetes sets for a Service, with a message that explains it.

    Raises: ValueError.
    """
    if isinstance(value, str) and _SERVICE_LINK.match(value):
        raise ValueError(
            "must be a port number; Kubernetes sets this variable for a Service of that name: "
            "rename the Service, or set enableServiceLinks: false in the pod"
        )
    return value


def header_text(value: SecretStr) -> SecretStr:
    """Check a credential that is sent in a header. Raises: ValueError."""
    if not _HEADER_TEXT.fullmatch(value.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces")
    return value


def listen_host(value: str) -> str:
    """A name or an IP address without a port. Raises: ValueError."""
    try:
        return str(ip_address(value)) if ":" in value else _host_name(value)
    except ValueError:
        raise ValueError(
            "must be a host name or an IP address, such as 127.0.0.1 or ::, without scheme and port"
        ) from None


def _host_name(value: str) -> str:
    """Labels of 1 to 63 characters, 253 in all (RFC 1123); an underscore is let through.

    Raises: ValueError.
    """
    if len(value) > 253 or not all(
        _LABEL.fullmatch(label) for label in value.removesuffix(".").split(".")
    ):
        raise ValueError("is no host name")
    return value


def whole_number(value: object) -> object:
    """Text of decimal digits, or no text. Raises: ValueError."""
    if isinstance(value, str) and not re.fullmatch("-?[0-9]+", value.strip()):
        raise ValueError("must be a whole number, in digits")
    return value


def host_and_port(value: str) -> str:
    """Check a `host:port`. Raises: ValueError."""
    if not _HOST_AND_PORT.fullmatch(value) or not is_host(value):
        raise ValueError("must look like temporal.example.com:7233, without a scheme")
    if not value.startswith("["):
        _host_name(value.partition(":")[0])
    return value


def web_origin(value: str) -> str:
    """Check the URL of a site and remove its trailing slash. Raises: ValueError."""
    try:
        parts = urlsplit(value)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if (
        not is_whole
        or parts.query
        or parts.fragment
        or parts.username is not None
        or re.search(r"[\s\\\"<>]", value)
    ):
        raise ValueError("must look like https://makegood.example.com")
    return value.rstrip("/")


def public_url(value: str) -> str:
    """Check the URL of the console and remove its trailing slash. Raises: ValueError.

    Its path may have several steps. The first step is none of `OWN_PATHS`.
    """
    value = web_origin(value)
    path = urlsplit(value).path
    if not _PATH_PREFIX.fullmatch(path):
        raise ValueError("must have a path of letters, digits and . _ ~ -, like /makegood")
    first_step = path.partition("/")[2].partition("/")[0]
    if first_step in OWN_PATHS:
        raise ValueError(
            f"must not have a path that begins with /{first_step}, which is one of Makegood's own "
            "paths: use another one, such as /makegood"
        )
    return value


def issuer_url(value: str) -> str:
    """Check the URL of an identity provider, kept as it is spelt. Raises: ValueError."""
    try:
        parts = urlsplit(value)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its text would quote the value
        is_url = False
    if not is_url or parts.query or parts.fragment or parts.username:
        raise ValueError("must look like https://id.example.com, as the provider itself spells it")
    return value


# The first steps of all paths of the API and the console. A public URL with such a path would be
# ambiguous behind a proxy that removes the path. tests/api/http/test_path_prefix.py checks them.
OWN_PATHS = frozenset(
    (
        *("account", "alerts", "api", "audit", "bulk-repairs", "docs", "events", "groups", "hooks"),
        *("incidents", "instance", "join", "livez", "login", "logout", "mailbox", "metrics"),
        *("openapi.json", "overview", "projects", "rail", "readyz", "static", "v1", "views"),
    )
)
# No step is "." or "..", which browsers remove.
_PATH_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://")
_HEADER_TEXT = re.compile(r"[!-~]+")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
Port = Annotated[
    int,
    BeforeValidator(whole_number),
    BeforeValidator(no_service_link),
    Field(ge=1, le=MAXIMUM_PORT),
]
# No span of time that is set is longer: each is added to a date somewhere.
A_YEAR_SECONDS = 366 * 86_400
Seconds = Annotated[int, BeforeValidator(whole_number), Field(ge=1, le=A_YEAR_SECONDS)]
SecondsOrNone = Annotated[int, BeforeValidator(whole_number), Field(ge=0, le=A_YEAR_SECONDS)]
Rate = Annotated[int, BeforeValidator(whole_number), Field(ge=1, le=1_000_000_000)]
Network = IPv4Network | IPv6Network
# NoDecode: otherwise pydantic-settings expects JSON instead of the contract's comma-separated list.
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_split_commas)]
Delays = Annotated[
    tuple[SecondsOrNone, ...],
    NoDecode,
    BeforeValidator(_split_commas),
    Field(min_length=1, max_length=100),
]
RootSecretText = Annotated[SecretStr, AfterValidator(_long_enough)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(check_database_url)]
SmtpUrl = Annotated[SecretStr, AfterValidator(check_mail_url)]
HeaderSecret = Annotated[SecretStr, AfterValidator(header_text)]
ListenHost = Annotated[str, AfterValidator(listen_host)]
# Temporal takes no longer name.
Namespace = Annotated[str, Field(min_length=1, max_length=1_000)]
HostAndPort = Annotated[str, AfterValidator(host_and_port)]
WebOrigin = Annotated[str, AfterValidator(web_origin)]
PublicUrl = Annotated[str, AfterValidator(public_url)]
IssuerUrl = Annotated[str, AfterValidator(issuer_url)]
MailAddress = Annotated[str, AfterValidator(canonical_address)]
