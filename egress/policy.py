"""Decides which URLs that users name may be called: by their shape, and by the addresses of their
host.

The shape is checked first, without a look-up; then everything that depends on the addresses of the
host. The refused ranges are an explicit table, because `is_global` of the standard library accepts
transition prefixes. This file resolves and connects to nothing. Called by `egress.transport`, when
a URL is saved and at each connection.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LONGEST_URL = 2048
HTTPS_PORTS = (443, 8443)
LOCALHOST = "localhost"
REFUSED_PLACE = (
    "Must be an https URL on port 443 or 8443 whose host has public addresses only. Who runs this"
    " installation can open a range of its own network with MAKEGOOD_EGRESS_ALLOW"
    " (127.0.0.0/8,::1/128 is this machine)."
)

# All of the IANA special-purpose registries (no endpoint is served in the globally reachable ones
# either), then ranges that they omit. Each entry has its reason.
REFUSED_RANGES: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(cidr), reason)
    for cidr, reason in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private use"),
        ("100.64.0.0/10", "shared address space, and metadata at 100.100.100.200"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link local, and metadata at 169.254.169.254"),
        ("172.16.0.0/12", "private use"),
        ("192.0.0.0/24", "protocol assignments, and metadata at 192.0.0.192"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "AS112"),
        ("192.52.193.0/24", "AMT"),
        ("192.88.99.0/24", "6to4 relays"),
        ("192.168.0.0/16", "private use"),
        ("192.175.48.0/24", "AS112"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, and broadcast"),
        ("168.63.129.16/32", "metadata and platform services behind a public-looking address"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64, local use"),
        ("100::/64", "discard only"),
        ("100:0:0:1::/64", "dummy prefix"),
        ("2001::/23", "protocol assignments: Teredo, AMT, AS112, ORCHID, benchmarking"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "AS112"),
        ("3ffe::/16", "6bone, returned"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "unique local, and metadata at fd00:ec2::254"),
        ("fe80::/10", "link local"),
        ("fec0::/10", "site local, deprecated"),
        ("ff00::/8", "multicast"),
        # Global unicast is 2000::/3 alone.
        ("::/3", "not global unicast"),
        ("4000::/2", "not global unicast"),
        ("8000::/1", "not global unicast"),
    )
)

# With every range allowed, only the text of a URL can be refused.
_EVERYWHERE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]*\]|[^:/?\[\]]*)(?::(?P<port>[^/?]*))?(?P<rest>(?:[/?].*)?)",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


class UnsafeUrl(ValueError):
    """The URL or an address of its host is refused.

    The message gives the reason to operators of this installation, without the URL. Other users get
    `public_refusal_message`.
    """


class AddressVerdict(StrEnum):
    """The verdict on an address. `allowed`: only the installation's allowed ranges permit it."""

    PUBLIC = "public"
    ALLOWED = "allowed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class OutgoingUrl:
    """A URL of permitted shape. `host` is lowercase without brackets; `address` is None for a name.

    `text` is the URL as given. `canonical` has one spelling of scheme, host and literal address; it
    is stored and called.
    """

    text: str
    canonical: str
    scheme: str
    host: str
    port: int
    address: Address | None

    @property
    def needs_allowed_range(self) -> bool:
        """Whether the URL uses plain http or an unusual port.

        Only the installation's allowed ranges permit that.
        """
        return self.scheme != "https" or self.port not in HTTPS_PORTS


def parse_allowed_ranges(text: str) -> tuple[Network, ...]:
    """The ranges of `MAKEGOOD_EGRESS_ALLOW`: comma-separated CIDRs, empty is none.

    Raises:
        ValueError: an entry is no network; the message quotes it.
    """
    return tuple(ip_network(entry.strip()) for entry in text.split(",") if entry.strip())


def judge_address(address: Address, allow: tuple[Network, ...]) -> AddressVerdict:
    """The verdict on this address. `allow` permits its own ranges only, not other forms of their
    addresses.
    """
    if any(address in network for network in allow):
        return AddressVerdict.ALLOWED
    if any(address in network for network, _ in REFUSED_RANGES):
        return AddressVerdict.REFUSED
    return AddressVerdict.PUBLIC


def check_url(text: str, allow: tuple[Network, ...]) -> OutgoingUrl:
    """The parts of a URL of permitted shape. A host that is an address literal is judged here.

    For a name, call `check_addresses` with its addresses afterwards.

    Raises:
        UnsafeUrl: the shape is not permitted, or the literal is refused.
    """
    _refuse_characters(text)
    match = _URL.fullmatch(text)
    if match is None:
        raise UnsafeUrl("The URL must be an absolute https URL.")
    scheme, written_host = match["scheme"].lower(), match["host"].lower()
    if "@" in written_host or "@" in (match["port"] or ""):
        raise UnsafeUrl("The URL must carry no user information.")
    address = _literal_address(written_host)
    if address is None:
        _refuse_odd_name(written_host)
    host = written_host if address is None else str(address)
    port = _port(scheme, match["port"])
    written_port = "" if match["port"] is None else f":{port}"
    canonical = f"{scheme}://{f'[{host}]' if ':' in host else host}{written_port}{match['rest']}"
    url = OutgoingUrl(
        text=text, canonical=canonical, scheme=scheme, host=host, port=port, address=address
    )
    if url.needs_allowed_range and not allow:
        raise UnsafeUrl("The URL must use https, on port 443 or 8443.")
    if address is not None:
        check_addresses(url, (address,), allow)
    return url


def check_addresses(
    url: OutgoingUrl, addresses: Iterable[Address], allow: tuple[Network, ...]
) -> tuple[Address, ...]:
    """The addresses that may be called for this URL. One refused address refuses all of them.

    `localhost` has several addresses; only the allowed ones are called.

    Raises:
        UnsafeUrl: there is none, one is refused, or the URL needs allowed ranges and one is outside
            them.
    """
    judged = tuple(addresses)
    if url.host == LOCALHOST:
        allowed = tuple(
            address for address in judged if judge_address(address, allow) is AddressVerdict.ALLOWED
        )
        judged = allowed or judged
    verdicts = {judge_address(address, allow) for address in judged}
    if not judged:
        raise UnsafeUrl("The URL's host has no address.")
    if AddressVerdict.REFUSED in verdicts:
        raise UnsafeUrl("The URL's host is at an address that may not be called.")
    if url.needs_allowed_range and verdicts != {AddressVerdict.ALLOWED}:
        raise UnsafeUrl("The URL must use https, on port 443 or 8443.")
    return judged


def public_refusal_message(text: str) -> str:
    """The message for a user whose URL is refused: the problem with its text, or else one fixed
    sentence.

    So it reveals nothing about the internal network: neither whether a name exists there, nor its
    address.
    """
    try:
        check_url(text, _EVERYWHERE)
    except UnsafeUrl as error:
        return str(error)
    return REFUSED_PLACE


def _refuse_characters(text: str) -> None:
    if len(text) > LONGEST_URL:
        raise UnsafeUrl(f"The URL must be at most {LONGEST_URL} characters.")
    if not text.isascii():
        raise UnsafeUrl(
            "The URL must be ASCII: write the host in its xn-- form and percent-encode the rest."
        )
    if any(character <= " " or character in "\\\x7f" for character in text):
        raise UnsafeUrl("The URL must hold no space, backslash or control character.")
    if "#" in text:
        raise UnsafeUrl("The URL must have no fragment.")


def _literal_address(host: str) -> Address | None:
    """None for a name. Only the canonical forms count: resolvers also take `127.1`, `0x7f.1` or
    `2130706433`.
    """
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1])
        if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            return IPv4Address(host)
    except ValueError:
        raise UnsafeUrl("The URL's host is a malformed address.") from None
    return None


def _refuse_odd_name(host: str) -> None:
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise UnsafeUrl("The URL's host is no host name.")


def _port(scheme: str, written: str | None) -> int:
    if written is None:
        return 443 if scheme == "https" else 80
    if not _PORT.fullmatch(written) or int(written) > 65535:
        raise UnsafeUrl("The URL's port is malformed.")
    return int(written)
