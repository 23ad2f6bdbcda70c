"""Validates the URLs of services: the database and the mail server. Never quotes a URL.

`config.fields` makes the types of the settings from them.
"""

import re
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, unquote_to_bytes

from pydantic import SecretStr

MAXIMUM_PORT = 65_535
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
_FILE_OPTIONS = frozenset({"sslcert", "sslcrl", "sslkey", "sslrootcert"})


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
            or not all(is_host(host) for host in hosts.split(","))
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
        if name in _FILE_OPTIONS and not _is_readable_file(text):
            raise ValueError(f"names a file in {name} that does not exist or cannot be read")
        if name == "port" and not all(_is_port(port) for port in text.split(",")):
            raise ValueError(
                "has a wrong value of port: it must be a number from 1 to 65535, or several with"
                " commas"
            )
        if name == "host" and not all(
            host.startswith("/") or is_host(host) for host in text.split(",")
        ):
            raise ValueError(
                "has a wrong value of host: it must be a name, an address or the path of a socket's"
                " directory"
            )


def is_host(host: str) -> bool:
    """Whether the text is a host with or without a port. Brackets contain an IPv6 address.

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


def _is_readable_file(name: str) -> bool:
    try:
        with Path(name).open("rb"):
            return True
    except (OSError, ValueError):
        return False


check_database_url = _service_url(
    "sqlite",
    "postgresql",
    options={
        "pooler": frozenset({"transaction"}),
        "sslmode": _SSL_MODES,
        "target_session_attrs": _SESSION_KINDS,
        "ssl_min_protocol_version": _TLS_VERSIONS,
        "ssl_max_protocol_version": _TLS_VERSIONS,
    },
    has_path=True,
)
check_mail_url = _service_url(
    "smtp", "smtps", options={"starttls": frozenset({"auto", "required", "never"})}, has_path=False
)
