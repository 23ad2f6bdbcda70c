"""The types of settings. Each rejects wrong values without showing a secret value.

`config.settings` gives them names and defaults.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

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
    if not _HOST_AND_PORT.fullmatch(value) or not _is_host(value):
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


def _service_url(
    *schemes: str, options: dict[str, frozenset[str]], has_path: bool
) -> Callable[[SecretStr], SecretStr]:
    """A validator of the URL of a service.

    `options`: query names with a fixed set of values. `has_path`: other query names are allowed
    too.
    """

    def judge(value: SecretStr) -> SecretStr:
        scheme, separator, rest = value.get_secret_value().partition("://")
        if scheme not in schemes or not separator:
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        if scheme == "sqlite":
            return _sqlite_file(value)
        authority, rest = _AUTHORITY.fullmatch(rest).groups()  # type: ignore[union-attr]  # it matches every text
        user, _, hosts = authority.rpartition("@")
        # Python reads some characters beyond ASCII as the reserved ones that they look like.
        is_misread = (
            "#" in rest
            or ("@" in rest and not user)
            or _BAD_USER.search(user)
            or not authority.isascii()
        )
        if (
            is_misread
            or not _is_decodable(user + rest)
            or not all(_is_host(host) for host in hosts.split(","))
        ):
            raise ValueError(
                "cannot be read: it must look like scheme://user:password@host:port, "
                "with the reserved characters of user and password percent-encoded "
                "(@ is %40, : is %3A, / is %2F, # is %23, ? is %3F, % is %25), as all beyond ASCII"
            )
        if not has_path and ("," in hosts or not hosts.partition(":")[0]):
            raise ValueError(
                "must name one host: it must look like scheme://user:password@host:port"
            )
        _judge_options(rest, options, has_path=has_path)
        return value

    return judge


def _sqlite_file(value: SecretStr) -> SecretStr:
    found = re.fullmatch(r"sqlite:///([^?]*)(?:\?.*)?", value.get_secret_value(), re.DOTALL)
    name = found[1] if found else ""
    is_file = PurePosixPath(name).name not in ("", "..") and not name.endswith(("/", "/."))
    if not is_file or name.startswith((":memory:", "file:")):
        raise ValueError(
            "must name a file: sqlite:///relative/path.db or sqlite:////absolute/path.db; one in"
            " memory would lose every receipt"
        )
    return value


def _judge_options(rest: str, options: dict[str, frozenset[str]], *, has_path: bool) -> None:
    path, _, query = rest.partition("?")
    if not has_path and path not in ("", "/"):
        raise ValueError("must have no path")
    try:
        given = parse_qsl(query, keep_blank_values=True, strict_parsing=query != "")
    except ValueError:
        raise ValueError(
            "has an option without a value: options look like name=value, with & between them"
        ) from None
    for name, text in given:
        if name in options and text not in options[name]:
            allowed = ", ".join(sorted(options[name]))
            raise ValueError(f"has an unknown value of {name}: it must be {allowed}")
        if name not in options and not has_path:
            allowed = ", ".join(sorted(options))
            raise ValueError(f"has an option that is unknown; it may have {allowed}")
        if name in OF_LIBPQ_ALONE:
            raise ValueError(f"has the option {name}, which this program has no use for: remove it")
        if name == "port" and not all(_is_port(port) for port in text.split(",")):
            raise ValueError(
                "has a wrong value of port: it must be a number from 1 to 65535, or several with"
                " commas"
            )
        if name == "host" and not all(
            host.startswith("/") or _is_host(host) for host in text.split(",")
        ):
            raise ValueError(
                "has a wrong value of host: it must be a name, an address or the path of a socket's"
                " directory"
            )


def _is_host(host: str) -> bool:
    """Whether it is a host with or without a port. Brackets contain an IPv6 address.

    An empty text is valid: it means the default host.
    """
    found = _HOST.fullmatch(host)
    if found is None or (found["port"] is not None and not _is_port(found["port"])):
        return False
    try:
        return (
            bool(IPv6Address(found["address"]).packed) if found["address"] else _is_decodable(host)
        )
    except ValueError:
        return False


def _is_port(text: str) -> bool:
    return re.fullmatch("[0-9]{1,5}", text) is not None and 1 <= int(text) <= MAXIMUM_PORT


def _is_decodable(encoded: str) -> bool:
    """Whether percent-encoded text decodes to text without NUL and line breaks."""
    try:
        unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        return False
    return _BAD_ESCAPE.search(encoded) is None


MAXIMUM_PORT = 65_535
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://")
_HEADER_TEXT = re.compile(r"[!-~]+")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_AUTHORITY = re.compile(r"([^/?#]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.%]+)\]|[^:@\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_BAD_USER = re.compile(r"[][@]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%0[0AaDd]")
# asyncpg passes what it does not know on to the server, which refuses these with every value.
OF_LIBPQ_ALONE = frozenset(
    {
        *(
            "channel_binding",
            "connect_timeout",
            "fallback_application_name",
            "gssencmode",
            "hostaddr",
            "load_balance_hosts",
        ),
        *(
            "keepalives",
            "keepalives_count",
            "keepalives_idle",
            "keepalives_interval",
            "require_auth",
            "requirepeer",
        ),
        *("requiressl", "sslcompression", "sslcrldir", "sslsni"),
    }
)
_TLS_VERSIONS = frozenset({"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"})
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
_SESSION_KINDS = frozenset(
    {"any", "primary", "standby", "read-write", "read-only", "prefer-standby"}
)
_DATABASE = _service_url(
    "sqlite",
    "postgresql",
    options={
        "sslmode": _SSL_MODES,
        "target_session_attrs": _SESSION_KINDS,
        "ssl_min_protocol_version": _TLS_VERSIONS,
        "ssl_max_protocol_version": _TLS_VERSIONS,
    },
    has_path=True,
)
_MAIL = _service_url(
    "smtp", "smtps", options={"starttls": frozenset({"auto", "required", "never"})}, has_path=False
)
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
DatabaseUrl = Annotated[SecretStr, AfterValidator(_DATABASE)]
SmtpUrl = Annotated[SecretStr, AfterValidator(_MAIL)]
HeaderSecret = Annotated[SecretStr, AfterValidator(header_text)]
ListenHost = Annotated[str, AfterValidator(listen_host)]
# Temporal takes no longer name.
Namespace = Annotated[str, Field(min_length=1, max_length=1_000)]
HostAndPort = Annotated[str, AfterValidator(host_and_port)]
WebOrigin = Annotated[str, AfterValidator(web_origin)]
