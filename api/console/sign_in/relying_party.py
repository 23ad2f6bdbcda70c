"""The relying party of passkeys (WebAuthn), which the public URL determines.

An authenticator makes a passkey for a host name. Browsers allow that for https, and for `localhost`
by http. An IP address is no host name: a loopback address stands for `localhost`, so that passkeys
work on the machine of a developer.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import idna

LOCAL = "localhost"
DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """`id` is the host name, `origin` the only origin whose answers are accepted."""

    id: str
    origin: str


def relying_party(public_url: str) -> RelyingParty | None:
    """The relying party of an installation. None if no browser allows passkeys at its URL."""
    parts = urlsplit(public_url)
    host = _host_name(parts.hostname or "")
    is_local = host == LOCAL or host.endswith(f".{LOCAL}")
    if not host or (parts.scheme != "https" and not is_local):
        return None
    is_default = parts.port in (None, DEFAULT_PORTS[parts.scheme])
    port = "" if is_default else f":{parts.port}"
    return RelyingParty(host, f"{parts.scheme}://{host}{port}")


def unavailable_text(public_url: str) -> str:
    """Why an installation without a relying party has no passkeys."""
    return (
        "Passkeys need a public URL with https and a host name. The public URL of this installation"
        f" is {public_url}: an administrator can change it with MAKEGOOD_PUBLIC_URL."
    )


def _host_name(host: str) -> str:
    """The host name as browsers spell it. Empty for an IP address, and for what is no name."""
    try:
        return LOCAL if ip_address(host).is_loopback else ""
    except ValueError:
        pass
    try:
        return host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        return ""
