"""Where a request comes from: the peer, or what trusted proxies say is before them. Pure.

`X-Forwarded-For` and `Forwarded` (RFC 7239) are claims of the sender. They are read from their end, and only as far back as each
hop is trusted. A hop that cannot be read has no address: tries to sign in are counted for it alone, never for the proxy, which
everybody shares. When both headers are there, the first counts: a proxy has to remove the one that it does not write.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.requests import Request

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
# One customer's line has a whole /64 to choose from.
IPV6_PREFIX = 64
_PORT = r"(?::[0-9]{1,5})?"
_WITH_PORT = re.compile(rf"\[([^\]]*)\]{_PORT}|([0-9.]+){_PORT}")
# The elements of a list, whose quoted parts may hold commas and semicolons.
_ELEMENT = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+|"')
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Origin:
    """`address` is the nearest that could be read; `unread` a hop before it that could not; `is_proxy`: nobody said more."""

    address: Address | None
    unread: str | None
    is_proxy: bool


def client_address(request: Request, *, trusted: Sequence[Network]) -> Address | None:
    """The nearest address that is no trusted proxy's; None when the server knows no peer (a socket file)."""
    return _origin(request, trusted).address


def counted_origin(request: Request, *, trusted: Sequence[Network]) -> str | None:
    """What tries to sign in are counted for; None when nothing tells this client from the others behind one proxy or socket."""
    origin = _origin(request, trusted)
    if origin.unread is not None:
        return None if origin.unread.lower() == "unknown" else f"unread {origin.unread}"
    return None if origin.address is None or origin.is_proxy else neighbourhood(origin.address)


def read_address(text: str) -> Address | None:
    """The address, without a port or a zone; an IPv4 address inside IPv6 is that IPv4 address."""
    text = text.strip()
    if found := _WITH_PORT.fullmatch(text):
        text = found[1] or found[2]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def neighbourhood(address: Address | None) -> str:
    """Who is counted as one: an IPv4 address, or an IPv6 /64."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)


def _origin(request: Request, trusted: Sequence[Network]) -> _Origin:
    peer = None if request.client is None else read_address(request.client.host)
    hops = _hops(request)
    says_nothing = not hops
    while peer is not None and any(peer in network for network in trusted):
        if not hops:
            return _Origin(peer, None, is_proxy=says_nothing)
        text = hops.pop()
        if (before := read_address(text)) is None:
            return _Origin(peer, text, is_proxy=True)
        peer = before
    return _Origin(peer, None, is_proxy=False)


def _hops(request: Request) -> list[str]:
    """What proxies name, the nearest last; empty elements say nothing."""
    if lines := request.headers.getlist("x-forwarded-for"):
        return [text for line in lines for part in line.split(",") if (text := part.strip())]
    elements = (element for line in request.headers.getlist("forwarded") for element in _ELEMENT.findall(line))
    return [_forwarded_for(element.strip()) for element in elements if element.strip()]


def _forwarded_for(element: str) -> str:
    """The node of one element of `Forwarded`; one that names none is unknown."""
    found = _FOR.search(element)
    node = "" if found is None else found[1].strip()
    if node.startswith('"'):
        node = re.sub(r"\\(.)", r"\1", node[1:-1])
    return node or "unknown"
