"""Finds the client's address: the peer, or the address that trusted proxies report. Pure.

`X-Forwarded-For` and `Forwarded` (RFC 7239) can be forged. They are read from their end, and only
while each hop is a trusted proxy. A hop that cannot be parsed has no address. Sign-in attempts
through it are counted for its text, not for the proxy that everybody shares. If both headers are
present, only `X-Forwarded-For` is read: a proxy must remove the header that it does not write.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.requests import Request

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
# One customer usually has a whole /64.
IPV6_PREFIX = 64
_PORT = r"(?::[0-9]{1,5})?"
_WITH_PORT = re.compile(rf"\[([^\]]*)\]{_PORT}|([0-9.]+){_PORT}")
# An element of a list. Quoted parts may contain commas and semicolons.
_ELEMENT = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+|"')
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Origin:
    """The origin of a request.

    `address` is the last hop that could be parsed. `unparsed` is the text of the hop before it, if
    that could not. `is_proxy` means that `address` is a trusted proxy that reported no client.
    """

    address: Address | None
    unparsed: str | None
    is_proxy: bool


def client_address(request: Request, *, trusted: Sequence[Network]) -> Address | None:
    """The nearest address that is not a trusted proxy's; None on a Unix socket, without a peer."""
    return _origin(request, trusted).address


def login_attempt_origin(request: Request, *, trusted: Sequence[Network]) -> str | None:
    """The origin that failed sign-in attempts are counted for.

    None when the client cannot be distinguished from others behind the same proxy or socket.
    """
    origin = _origin(request, trusted)
    if origin.unparsed is not None:
        return None if origin.unparsed.lower() == "unknown" else f"unread {origin.unparsed}"
    if origin.address is None or origin.is_proxy:
        return None
    return address_block(origin.address)


def parse_address(text: str) -> Address | None:
    """The address without port and zone. An IPv4-mapped IPv6 address becomes the IPv4 address."""
    text = text.strip()
    if found := _WITH_PORT.fullmatch(text):
        text = found[1] or found[2]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def address_block(address: Address | None) -> str:
    """The addresses that are counted as one client: an IPv4 address, or an IPv6 /64."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)


def _origin(request: Request, trusted: Sequence[Network]) -> _Origin:
    peer = None if request.client is None else parse_address(request.client.host)
    hops = _hops(request)
    has_no_report = not hops
    while peer is not None and any(peer in network for network in trusted):
        if not hops:
            return _Origin(peer, None, is_proxy=has_no_report)
        text = hops.pop()
        if (before := parse_address(text)) is None:
            return _Origin(peer, text, is_proxy=True)
        peer = before
    return _Origin(peer, None, is_proxy=False)


def _hops(request: Request) -> list[str]:
    """The hops that proxies report, the nearest last, without empty elements."""
    if lines := request.headers.getlist("x-forwarded-for"):
        return [text for line in lines for part in line.split(",") if (text := part.strip())]
    lines = request.headers.getlist("forwarded")
    elements = (element for line in lines for element in _ELEMENT.findall(line))
    return [_forwarded_for(element.strip()) for element in elements if element.strip()]


def _forwarded_for(element: str) -> str:
    """The `for` node of one element of `Forwarded`; `unknown` when it has none."""
    found = _FOR.search(element)
    node = "" if found is None else found[1].strip()
    if node.startswith('"'):
        node = re.sub(r"\\(.)", r"\1", node[1:-1])
    return node or "unknown"
