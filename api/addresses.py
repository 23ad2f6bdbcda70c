"""Where a request comes from: the peer, or what trusted proxies say stood before them. Pure.

`X-Forwarded-For` is a claim of whoever sent it. It is read from its end, and only as far back as each hop is trusted.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.requests import Request

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
# One customer's line has a whole /64 to choose from.
IPV6_PREFIX = 64


def client_address(request: Request, *, trusted: Sequence[Network]) -> Address | None:
    """The nearest address that is no trusted proxy's; None when the server knows no peer (a socket file)."""
    peer = None if request.client is None else read_address(request.client.host)
    hops = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    while peer is not None and hops and any(peer in network for network in trusted):
        before = read_address(hops.pop())
        if before is None:
            break
        peer = before
    return peer


def read_address(text: str) -> Address | None:
    """The address, without a zone; an IPv4 address inside IPv6 is that IPv4 address."""
    try:
        address = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def neighbourhood(address: Address | None) -> str:
    """Who is counted as one: an IPv4 address, or an IPv6 /64."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)
