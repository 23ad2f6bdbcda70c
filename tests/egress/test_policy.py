import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.policy import (
    REFUSED_RANGES,
    AddressVerdict,
    Network,
    UnsafeUrl,
    check_addresses,
    check_url,
    judge_address,
    parse_allowed_ranges,
    public_refusal_message,
)

LOOPBACK = parse_allowed_ranges("127.0.0.0/8")
PUBLIC = ip_address("93.184.216.34")

REFUSED = re.split(
    r"\s+",
    """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1
    127.255.255.254 169.254.169.254
    169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.0.192 192.0.2.1
    192.31.196.1 192.52.193.1 192.88.99.1
    192.168.0.1 192.168.255.255 192.175.48.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1
    224.0.0.1 239.255.255.250
    240.0.0.1 255.255.255.255 168.63.129.16
    :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::7f00:1
    64:ff9b::808:808 64:ff9b:1::1 100::1
    100:0:0:1::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:1::1 2001:2::1 2001:3::1
    2001:4:112::1 2001:10::1 2001:20::1
    2001:30::1 2001:db8::1 2002:7f00:1:: 2002:808:808:: 2620:4f:8000::1 3ffe::1 3fff::1 3fff:fff::1
    5f00::1 fc00::1 fd00:ec2::254
    fe80::1 fec0::1 ff02::1 ff0e::1 200::1 4000::1 8000::1 e000::1
""".strip(),
)
PUBLIC_ADDRESSES = re.split(
    r"\s+",
    """
    1.1.1.1 8.8.8.8 93.184.216.34 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255
    128.0.0.0 168.63.129.15
    168.63.129.17 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0
    198.17.255.255 198.20.0.0
    223.255.255.255 2606:4700:4700::1111 2001:4860:4860::8888 2a00:1450:4001:82f::200e 2001:200::1
    2003::1 3ffd::1 2620:4f:7fff::1
""".strip(),
)


@pytest.mark.parametrize("address", REFUSED)
def test_special_address_is_refused(address: str) -> None:
    assert judge_address(ip_address(address), ()) is AddressVerdict.REFUSED


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_public_address_may_be_called(address: str) -> None:
    assert judge_address(ip_address(address), ()) is AddressVerdict.PUBLIC


@given(st.ip_addresses())
def test_nothing_that_the_standard_library_calls_special_is_public(
    address: IPv4Address | IPv6Address,
) -> None:
    special = (
        not address.is_global
        or address.is_multicast
        or address.is_reserved
        or address.is_link_local
    )

    assert not special or judge_address(address, ()) is AddressVerdict.REFUSED


def test_every_refused_range_is_refused_to_its_ends() -> None:
    ends = [end for network, _ in REFUSED_RANGES for end in (network[0], network[-1])]

    assert {judge_address(end, ()) for end in ends} == {AddressVerdict.REFUSED}


@pytest.mark.parametrize(("network", "reason"), REFUSED_RANGES, ids=lambda value: str(value))
def test_refused_range_is_refused_whole_and_its_neighbours_only_where_they_are_in_another(
    network: Network, reason: str
) -> None:
    inside = (network[0], network[network.num_addresses // 2], network[-1])
    neighbours = [
        network[0] + step
        for step in (-1, network.num_addresses)
        if 0 <= int(network[0]) + step < 2 ** network[0].max_prefixlen
    ]

    assert {judge_address(address, ()) for address in inside} == {AddressVerdict.REFUSED}
    for neighbour in neighbours:
        in_another = any(neighbour in other for other, _ in REFUSED_RANGES)
        assert judge_address(neighbour, ()) is (
            AddressVerdict.REFUSED if in_another else AddressVerdict.PUBLIC
        )


# Of the ranges with no refused neighbour: the address before the first and the one after the last,
# written out.
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("9.255.255.255", "11.0.0.0"), ("100.63.255.255", "100.128.0.0"),
        ("126.255.255.255", "128.0.0.0"),
        ("169.253.255.255", "169.255.0.0"), ("172.15.255.255", "172.32.0.0"),
        ("191.255.255.255", "192.0.1.0"),
        ("192.31.195.255", "192.31.197.0"), ("192.52.192.255", "192.52.194.0"),
        ("192.88.98.255", "192.88.100.0"),
        ("192.167.255.255", "192.169.0.0"), ("192.175.47.255", "192.175.49.0"),
        ("198.17.255.255", "198.20.0.0"),
        ("198.51.99.255", "198.51.101.0"), ("203.0.112.255", "203.0.114.0"),
        ("223.255.255.255", "1.0.0.0"),
        ("168.63.129.15", "168.63.129.17"), ("2001:db7:ffff:ffff::", "2001:db9::"),
        ("2001:200::", "2003::"),
        ("2001:ffff:ffff:ffff::", "2003::"), ("2620:4f:7fff:ffff::", "2620:4f:8001::"),
        ("3ffd:ffff::", "3fff:1000::"),
        ("2000::", "3fff:1000::"),
    ],
)  # fmt: skip
def test_neighbours_of_refused_ranges_may_be_called(before: str, after: str) -> None:
    assert {judge_address(ip_address(text), ()) for text in (before, after)} == {
        AddressVerdict.PUBLIC
    }


def test_allowed_range_opens_itself_alone() -> None:
    assert judge_address(ip_address("127.0.0.1"), LOOPBACK) is AddressVerdict.ALLOWED
    assert judge_address(ip_address("10.0.0.1"), LOOPBACK) is AddressVerdict.REFUSED
    assert judge_address(ip_address("::1"), LOOPBACK) is AddressVerdict.REFUSED
    assert judge_address(ip_address("::ffff:127.0.0.1"), LOOPBACK) is AddressVerdict.REFUSED
    assert judge_address(PUBLIC, LOOPBACK) is AddressVerdict.PUBLIC


def test_allowed_ranges_are_read_from_their_setting() -> None:
    assert parse_allowed_ranges("") == parse_allowed_ranges(" , ") == ()
    assert parse_allowed_ranges("10.0.0.0/8, ::1") == (
        ip_network("10.0.0.0/8"),
        ip_network("::1/128"),
    )


@pytest.mark.parametrize("text", ["localhost", "10.0.0.1/8", "10.0.0.0/33", "*"])
def test_malformed_allowed_range_is_named(text: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_allowed_ranges(f"127.0.0.0/8,{text}")

    assert text in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("https://shop.example", "shop.example", 443),
        ("https://shop.example:8443/repair?x=1&y=%20/../", "shop.example", 8443),
        ("HTTPS://Shop.Example:443/A", "shop.example", 443),
        ("https://xn--mnchen-3ya.example/", "xn--mnchen-3ya.example", 443),
        ("https://8.8.8.8/repair", "8.8.8.8", 443),
        ("https://[2606:4700:4700:0::1111]:8443/", "2606:4700:4700::1111", 8443),
        ("https://shop.example?@", "shop.example", 443),
        ("https://3com.4you/", "3com.4you", 443),
        ("https://shop.example/" + "a" * (2048 - 21), "shop.example", 443),
    ],
)
def test_https_url_on_a_permitted_port_has_its_parts(text: str, host: str, port: int) -> None:
    url = check_url(text, ())

    assert (url.text, url.scheme, url.host, url.port) == (text, "https", host, port)
    assert not url.needs_allowed_range


BAD_SHAPES = [
    "", "shop.example/repair", "//shop.example", "https:shop.example", "https:/shop.example",
    "ftp://shop.example", "https://",
    "https:///x", "https://:443/", "javascript:alert(1)", " https://shop.example",
    "https://shop.example ",
    "https://shop.example/a b", "https://shop.example/\n", "https://shop.example\t/",
    "https://shop.example/\x00", "https://shop.example/\x7f",
    "https://shop.example\\@10.0.0.1/", "https://shop.example/\\", "https://shop.example/#", "https://shop.example#@10.0.0.1/",
    "https://user@shop.example/", "https://user:password@shop.example/", "https://@shop.example/", "https://a:443@shop.example/",
    "https://shop.example:443@10.0.0.1/", "https://shop.example:/", "https://shop.example:0443/", "https://shop.example:99999/",
    "https://shop.example:-1/", "https://shop.example:4４3/", "https://shop.example:443:443/", "https://shop.example:80/",
    "https://shop.example:22/", "http://shop.example/", "http://shop.example:443/", "https://münchen.example/",
    "https://shop。example/", "https://１２７.0.0.1/", "https://127。0。0。1/", "https://①②⑦.0.0.1/",
    "https://shop.example/é",
    "https://127.1/", "https://127.0.1/", "https://2130706433/", "https://0x7f.1/",
    "https://0x7f000001/", "https://0X7F.0.0.1/",
    "https://0177.0.0.1/", "https://127.0.0.01/", "https://127.0.0.1./", "https://8.8.8.8./",
    "https://134744072/", "https://8.8.2056/",
    "https://256.1.1.1/", "https://1.2.3.4.5/", "https://shop.example.1/", "https://a.0x/", "https://127.0.0.1%00.shop.example/",
    "https://%31%32%37.0.0.1/", "https://shop%2eexample/", "https://[::1/", "https://::1/",
    "https://[]/", "https://[::g]/",
    "https://[127.0.0.1]/", "https://[fe80::1%25eth0]/", "https://[v1.x]/", "https://[::1]x/", "https://shop..example/",
    "https://.shop.example/", "https://shop.example./", "https://-shop.example/",
    "https://shop-.example/", "https://shop!.example/",
    "https://" + "a" * 64 + ".example/", "https://" + ".".join(["a" * 60] * 5) + "/",
    "https://shop.example/" + "a" * (2049 - 21),
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_SHAPES)
def test_url_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(UnsafeUrl) as refusal:
        check_url(text, ())

    assert str(refusal.value).startswith("The URL")


@pytest.mark.parametrize(
    "text", [bad for bad in BAD_SHAPES if not bad.startswith("http://shop") and ":80/" not in bad]
)
def test_allowed_ranges_permit_no_odd_shape(text: str) -> None:
    everything = parse_allowed_ranges("0.0.0.0/0,::/0")

    if text == "https://shop.example:22/":
        assert check_url(text, everything).needs_allowed_range
    else:
        with pytest.raises(UnsafeUrl):
            check_url(text, everything)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[::ffff:8.8.8.8]", "[2002:808:808::]"],
)
def test_refused_literal_is_refused_without_a_lookup(host: str) -> None:
    with pytest.raises(UnsafeUrl, match="may not be called"):
        check_url(f"https://{host}/repair", ())


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:9000/repair", "https://127.0.0.1:1/", "http://127.0.0.1/"]
)
def test_allowed_literal_may_use_http_and_any_port(text: str) -> None:
    assert check_url(text, LOOPBACK).address == ip_address("127.0.0.1")


def test_public_literal_must_use_https_although_ranges_are_allowed() -> None:
    with pytest.raises(UnsafeUrl, match="must use https"):
        check_url("http://8.8.8.8/", LOOPBACK)


@pytest.mark.parametrize(
    ("text", "addresses", "accepted"),
    [
        ("https://shop.example/", ["93.184.216.34", "2606:4700:4700::1111"], True),
        ("https://shop.example/", [], False),
        ("https://shop.example/", ["10.0.0.1"], False),
        ("https://shop.example/", ["93.184.216.34", "10.0.0.1"], False),
        ("https://shop.example/", ["93.184.216.34", "::ffff:93.184.216.34"], False),
        ("https://shop.example/", ["93.184.216.34", "127.0.0.1"], True),
        ("http://app:9000/", ["127.0.0.1", "127.0.0.2"], True),
        ("http://app:9000/", ["127.0.0.1", "93.184.216.34"], False),
        ("http://app:9000/", ["93.184.216.34"], False),
        ("https://shop.example:9000/", ["93.184.216.34"], False),
    ],
)
def test_name_is_judged_by_all_its_addresses(
    text: str, addresses: list[str], accepted: bool
) -> None:
    url = check_url(text, LOOPBACK)
    parsed = [ip_address(address) for address in addresses]

    if accepted:
        assert check_addresses(url, parsed, LOOPBACK) == tuple(parsed)
    else:
        with pytest.raises(UnsafeUrl):
            check_addresses(url, parsed, LOOPBACK)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("HTTPS://Shop.Example:443/A?B", "https://shop.example:443/A?B"),
        ("https://[2606:4700:4700:0:0::1111]/", "https://[2606:4700:4700::1111]/"),
        ("https://[2606:4700:4700::0:1111]:8443", "https://[2606:4700:4700::1111]:8443"),
        ("https://[2606:4700:4700::ABCD]/x", "https://[2606:4700:4700::abcd]/x"),
        ("https://XN--MNCHEN-3YA.example/", "https://xn--mnchen-3ya.example/"),
        ("https://shop.example", "https://shop.example"),
    ],
)
def test_url_has_one_canonical_form(text: str, canonical: str) -> None:
    assert check_url(text, ()).canonical == canonical
    assert check_url(canonical, ()).canonical == canonical


@pytest.mark.parametrize(
    ("allow", "called"),
    [
        ("127.0.0.0/8", ("127.0.0.1",)),
        ("::1/128", ("::1",)),
        ("127.0.0.0/8,::1/128", ("127.0.0.1", "::1")),
        ("10.0.0.0/8", None),
    ],
)
def test_localhost_is_called_at_the_addresses_that_are_open(
    allow: str, called: tuple[str, ...] | None
) -> None:
    ranges = parse_allowed_ranges(allow)
    url = check_url("http://LOCALHOST:9000/", ranges)
    both = [ip_address("::1"), ip_address("127.0.0.1")]

    if called is None:
        with pytest.raises(UnsafeUrl):
            check_addresses(url, both, ranges)
    else:
        assert {str(address) for address in check_addresses(url, both, ranges)} == set(called)


def test_refusal_says_which_setting_opens_a_range() -> None:
    assert "MAKEGOOD_EGRESS_ALLOW" in public_refusal_message("https://10.0.0.1/")
    assert "10.0.0.1" not in public_refusal_message("https://10.0.0.1/")


@given(
    st.from_regex(
        r"\A[hH]ttps?://([a-z0-9A-Z_.-]{1,20}|\[[0-9a-f:.]{2,20}\]|xn--[a-z0-9]{1,8})(:[0-9]{1,5})?([/?][!-~]{0,30})?\Z"
    )
)
def test_httpx_reads_every_permitted_url_as_we_do(text: str) -> None:
    everything = parse_allowed_ranges("0.0.0.0/0,::/0")
    try:
        ours = check_url(text, everything)
    except UnsafeUrl:
        return

    theirs = httpx.URL(text)

    default_port = 443 if theirs.scheme == "https" else 80
    read = (theirs.scheme, theirs.raw_host.decode(), theirs.port or default_port, theirs.userinfo)
    if ours.address is None:
        assert read == (ours.scheme, ours.host, ours.port, b"")
    else:
        assert (ip_address(theirs.raw_host.decode()), *read[2:]) == (ours.address, ours.port, b"")
