"""The relying party of each public URL, as browsers see it."""

import pytest

from api.console.sign_in.relying_party import RelyingParty, relying_party


@pytest.mark.parametrize(
    ("public_url", "expected"),
    [
        ("https://makegood.example", ("makegood.example", "https://makegood.example")),
        ("https://makegood.example/console", ("makegood.example", "https://makegood.example")),
        ("https://MakeGood.example:443", ("makegood.example", "https://makegood.example")),
        ("https://makegood.example:8443", ("makegood.example", "https://makegood.example:8443")),
        ("https://münchen.example", ("xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example")),
        ("https://intranet", ("intranet", "https://intranet")),
        ("http://localhost:8000", ("localhost", "http://localhost:8000")),
        ("http://shop.localhost", ("shop.localhost", "http://shop.localhost")),
        ("http://127.0.0.1:8000", ("localhost", "http://localhost:8000")),
        ("http://[::1]:80", ("localhost", "http://localhost")),
        ("https://127.0.0.1", ("localhost", "https://localhost")),
        ("http://makegood.example", None),
        ("http://192.0.2.1:8000", None),
        ("https://192.0.2.1", None),
        ("https://[2001:db8::1]:8443", None),
        ("http://notlocalhost:8000", None),
    ],
)
def test_relying_party_is_the_host_of_the_public_url(
    public_url: str, expected: tuple[str, str] | None
) -> None:
    found = relying_party(public_url)

    assert found == (None if expected is None else RelyingParty(*expected))
