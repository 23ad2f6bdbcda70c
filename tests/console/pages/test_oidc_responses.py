"""Responses of the identity provider: forged, wrong, late or repeated ones are refused."""

import time
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from api.console.composition import ConsoleDependencies
from egress.transport import GuardedTransport
from store.db.database import Database
from tests.console.conftest import visiting
from tests.console.oidc_browsers import OidcBrowsers, changed_claims, oidc_provider_at
from tests.console.provider import CLIENT_ID, CLIENT_SECRET, Json

STRANGERS_KEY = ECKey.generate_key("P-256", parameters={"kid": "1"})

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def test_every_authorization_request_has_new_secrets(browsers: OidcBrowsers) -> None:
    asked = [
        parse_qs(urlsplit((await browsers.visitor.open("/login/oidc")).headers["location"]).query)
        for _ in range(2)
    ]

    assert not any(
        asked[0][name] == asked[1][name] for name in ("state", "nonce", "code_challenge")
    )


WRONG = {
    "nonce": changed_claims(nonce="another"),
    "no nonce": changed_claims(nonce=None),
    "audience": changed_claims(aud="another client"),
    "audiences": changed_claims(aud=["another client"]),
    "no audience": changed_claims(aud=None),
    "authorized party": changed_claims(aud=[CLIENT_ID, "another"], azp="another"),
    "issuer": changed_claims(iss="https://evil.example"),
    "no issuer": changed_claims(iss=None),
    "expired": changed_claims(exp=int(time.time()) - 120),
    "no expiry": changed_claims(exp=None),
    "not yet": changed_claims(nbf=int(time.time()) + 3_600),
    "access token": changed_claims(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
    "no subject": changed_claims(sub=None),
    "a claim of another type": changed_claims(exp={"never": True}),
}


async def test_a_token_with_a_wrong_claim_is_refused(browsers: OidcBrowsers) -> None:
    taken = []
    for name, change in WRONG.items():
        browsers.provider.change = change
        answer = await browsers.sign_in()
        if (
            answer.status_code != 403
            or await browsers.is_in()
            or browsers.provider.requests[-1] != "jwks"
        ):
            taken.append(name)

    assert taken == []
    browsers.provider.change = changed_claims()
    assert (await browsers.sign_in()).status_code == 303


def unsigned(claims: Json) -> str:
    header, payload, _ = jwt.encode({"alg": "ES256", "kid": "1"}, claims, STRANGERS_KEY).split(".")
    del header
    return f"eyJhbGciOiJub25lIn0.{payload}."


FORGED = {
    "another key": lambda claims: jwt.encode({"alg": "ES256", "kid": "1"}, claims, STRANGERS_KEY),
    "none": unsigned,
    "the client's secret": lambda claims: jwt.encode(
        {"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET), algorithms=["HS256"]
    ),
    "no token": lambda claims: "not a token",
}


async def test_a_token_that_the_provider_did_not_sign_is_refused(browsers: OidcBrowsers) -> None:
    taken = []
    for name, sign in FORGED.items():
        browsers.provider.sign = sign
        answer = await browsers.sign_in()
        if (
            answer.status_code != 403
            or await browsers.is_in()
            or browsers.provider.requests[-1] != "jwks"
        ):
            taken.append(name)

    assert taken == []


@pytest.mark.parametrize(
    ("answer", "is_redeemed"),
    [
        ({"state": "another"}, False),
        ({"iss": "https://evil.example"}, False),
        ({"code": "made up"}, True),
    ],
    ids=["state", "issuer", "code"],
)
async def test_an_unexpected_response_is_refused(
    browsers: OidcBrowsers, answer: dict[str, str], is_redeemed: bool
) -> None:
    browsers.provider.answer = answer

    refused = await browsers.sign_in()

    assert refused.status_code == 403
    assert not await browsers.is_in()
    assert ("token" in browsers.provider.requests) is is_redeemed


async def test_a_response_is_valid_once_and_only_in_its_browser(
    browsers: OidcBrowsers, parts: ConsoleDependencies
) -> None:
    address = await browsers.leave()
    async with visiting(
        replace(parts, oidc_provider=oidc_provider_at(browsers.provider.issuer))
    ) as other:
        elsewhere = await other.open(address)
    first = await browsers.visitor.open(address)
    second = await browsers.visitor.open(address)

    assert [answer.status_code for answer in (elsewhere, first, second)] == [403, 303, 403]


async def test_a_late_response_is_refused(browsers: OidcBrowsers, database: Database) -> None:
    address = await browsers.leave()
    database.clock.skew = timedelta(minutes=11)

    assert (await browsers.visitor.open(address)).status_code == 403


async def test_a_refusal_of_the_provider_is_shown(browsers: OidcBrowsers) -> None:
    state = parse_qs(
        urlsplit((await browsers.visitor.open("/login/oidc")).headers["location"]).query
    )["state"][0]

    answer = await browsers.visitor.open(f"/login/oidc/callback?error=access_denied&state={state}")

    assert answer.status_code == 403
    assert "did not sign you in" in answer.text


METADATA = {
    "another issuer": {"issuer": "https://evil.example"},
    "no endpoint": {"token_endpoint": None},
    "another scheme": {"token_endpoint": "ftp://127.0.0.1/token"},
}


async def test_a_provider_with_invalid_metadata_is_not_used(browsers: OidcBrowsers) -> None:
    used = []
    for name, metadata in METADATA.items():
        browsers.provider.metadata = metadata
        answer = await browsers.visitor.open("/login/oidc")
        if answer.status_code != 403 or "did not sign you in" not in answer.text:
            used.append(name)

    assert used == []


async def test_each_request_to_the_provider_passes_the_egress_guard(
    parts: ConsoleDependencies, browsers: OidcBrowsers
) -> None:
    guarded = replace(
        parts,
        oidc_provider=oidc_provider_at(
            browsers.provider.issuer, transport=GuardedTransport(allow=())
        ),
    )
    async with visiting(guarded) as visitor:
        at_once = await visitor.open("/login/oidc")
    asked_before = len(browsers.provider.requests)
    # The provider may be called, but not the address of its keys.
    browsers.provider.metadata = {"jwks_uri": "http://169.254.169.254/latest/meta-data"}
    later = await browsers.sign_in()

    assert (at_once.status_code, asked_before) == (403, 0)
    assert later.status_code == 403
    assert "169.254" not in later.text
