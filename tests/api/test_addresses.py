"""Where a request comes from: nobody is believed who is not trusted."""

from ipaddress import ip_network

import pytest
from starlette.requests import Request

from api.addresses import client_address, neighbourhood, read_address

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def request_from(peer: str | None, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return Request({"type": "http", "client": None if peer is None else (peer, 4711), "headers": headers})


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", ("198.51.100.7",), "192.0.2.1"),
        ("10.0.0.1", ("198.51.100.7",), "198.51.100.7"),
        ("10.0.0.1", ("203.0.113.9, 198.51.100.7",), "198.51.100.7"),
        ("10.0.0.1", ("203.0.113.9, 198.51.100.7, 10.0.0.2",), "198.51.100.7"),
        ("10.0.0.1", ("203.0.113.9", "198.51.100.7", "10.0.0.2"), "198.51.100.7"),
        ("::ffff:10.0.0.1", ("2001:db8::1",), "2001:db8::1"),
        ("fd00::1", ("::ffff:198.51.100.7",), "198.51.100.7"),
        ("10.0.0.1", ("unknown",), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.7, _hidden, 10.0.0.2",), "10.0.0.2"),
        ("10.0.0.1", ("",), "10.0.0.1"),
        ("10.0.0.1", (), "10.0.0.1"),
        (None, ("198.51.100.7",), None),
        ("fe80::1%eth0", (), "fe80::1"),
    ],
)
def test_the_nearest_address_that_is_no_trusted_proxy(peer: str | None, forwarded: tuple[str, ...], address: str | None) -> None:
    found = client_address(request_from(peer, *forwarded), trusted=PROXIES)

    assert (None if found is None else str(found)) == address


def test_without_trusted_proxies_the_peer_speaks_for_itself() -> None:
    assert str(client_address(request_from("127.0.0.1", "198.51.100.7"), trusted=())) == "127.0.0.1"


def test_a_line_of_ipv6_counts_as_one() -> None:
    near, far = (neighbourhood(read_address(text)) for text in ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"))

    assert near == far == "2001:db8:0:1::/64"
    assert neighbourhood(read_address("192.0.2.1")) == "192.0.2.1"
