"""The client address: untrusted reports of it are ignored."""

from ipaddress import ip_network

import pytest
from starlette.requests import Request

from api.http.client_address import (
    address_block,
    client_address,
    login_attempt_origin,
    parse_address,
)

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def request_from(peer: str | None, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return Request(
        {"type": "http", "client": None if peer is None else (peer, 4711), "headers": headers}
    )


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
def test_the_nearest_address_that_is_no_trusted_proxy(
    peer: str | None, forwarded: tuple[str, ...], address: str | None
) -> None:
    found = client_address(request_from(peer, *forwarded), trusted=PROXIES)

    assert (None if found is None else str(found)) == address


def test_without_trusted_proxies_the_peer_speaks_for_itself() -> None:
    assert str(client_address(request_from("127.0.0.1", "198.51.100.7"), trusted=())) == "127.0.0.1"


def test_a_line_of_ipv6_counts_as_one() -> None:
    near, far = (
        address_block(parse_address(text)) for text in ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2")
    )

    assert near == far == "2001:db8:0:1::/64"
    assert address_block(parse_address("192.0.2.1")) == "192.0.2.1"


def request_with(peer: str | None, **headers: str) -> Request:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(
        {"type": "http", "client": None if peer is None else (peer, 4711), "headers": sent}
    )


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("198.51.100.7:51234", "198.51.100.7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[::ffff:198.51.100.7]:80", "198.51.100.7"),
        ("198.51.100.7:51234, 10.0.0.2:80", "198.51.100.7"),
        (",198.51.100.7,,", "198.51.100.7"),
    ],
)
def test_every_spelling_of_x_forwarded_for_is_read(forwarded: str, address: str) -> None:
    assert (
        str(client_address(request_with("10.0.0.1", x_forwarded_for=forwarded), trusted=PROXIES))
        == address
    )


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("for=198.51.100.7", "198.51.100.7"),
        ('for="198.51.100.7:4711"', "198.51.100.7"),
        ('For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ("for=192.0.2.43;proto=http;by=203.0.113.43", "192.0.2.43"),
        ("proto=https;for=192.0.2.43", "192.0.2.43"),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
        (
            'for=203.0.113.9, for="198.51.100.7";host="a,b;for=1.2.3.4", for=10.0.0.2',
            "198.51.100.7",
        ),
    ],
)
def test_every_spelling_of_forwarded_is_read(forwarded: str, address: str) -> None:
    assert (
        str(client_address(request_with("10.0.0.1", forwarded=forwarded), trusted=PROXIES))
        == address
    )


def test_forwarded_header_of_a_client_does_not_replace_that_of_the_proxy() -> None:
    request = request_with("10.0.0.1", x_forwarded_for="198.51.100.7", forwarded="for=192.0.2.1")

    assert login_attempt_origin(request, trusted=PROXIES) == "198.51.100.7"


@pytest.mark.parametrize(
    ("peer", "headers", "origin"),
    [
        ("192.0.2.1", {"x_forwarded_for": "198.51.100.7"}, "192.0.2.1"),
        ("10.0.0.1", {"x_forwarded_for": "10.0.0.9"}, "10.0.0.9"),
        ("10.0.0.1", {"x_forwarded_for": "2001:db8:0:1::1"}, "2001:db8:0:1::/64"),
        ("10.0.0.1", {"forwarded": "for=_hidden7"}, "unread _hidden7"),
        ("10.0.0.1", {"x_forwarded_for": "not an address"}, "unread not an address"),
        ("10.0.0.1", {"x_forwarded_for": "unknown"}, None),
        ("10.0.0.1", {"forwarded": "for=Unknown"}, None),
        ("10.0.0.1", {"forwarded": "proto=https"}, None),
        ("10.0.0.1", {"forwarded": '"'}, None),
        ("10.0.0.1", {"x_forwarded_for": ""}, None),
        ("10.0.0.1", {}, None),
        (None, {"x_forwarded_for": "198.51.100.7"}, None),
    ],
)
def test_what_cannot_be_read_never_counts_for_everybody(
    peer: str | None, headers: dict[str, str], origin: str | None
) -> None:
    assert login_attempt_origin(request_with(peer, **headers), trusted=PROXIES) == origin
