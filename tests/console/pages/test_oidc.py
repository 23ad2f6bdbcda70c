"""Signing in through an identity provider: known people with a right answer, and nobody else."""

import json
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import ip_network
from urllib.parse import parse_qs, urlsplit

import httpx
import pyotp
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey
from sqlalchemy import text

from api.console.composition import ConsoleDependencies
from api.console.sign_in.oidc_provider import OidcClient, OidcProvider
from domain.audit import Actor
from domain.projects import CreatedProject
from domain.users import User
from egress.transport import GuardedTransport
from operations.people.composition import People
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import second_factor as factors
from store.people import users
from tests.console.conftest import EMAIL, PASSWORD, Visitor, visiting
from tests.console.pages.test_audit import log
from tests.console.provider import CLIENT_ID, CLIENT_SECRET, Json, Provider, providing
from tests.console.sign_in.test_login_attempts import address_with_one_try

LOOPBACK = (ip_network("127.0.0.0/8"),)
STRANGERS_KEY = ECKey.generate_key("P-256", parameters={"kid": "1"})

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclass(frozen=True, slots=True)
class Together:
    """A provider, a person's browser at it and at the console."""

    provider: Provider
    at_provider: httpx.AsyncClient
    visitor: Visitor

    async def leave(self, path: str = "/login/oidc") -> str:
        """The address at the console that the provider sends the browser back to."""
        away = await self.visitor.open(path)
        assert away.status_code == 303, away.text
        back = await self.at_provider.get(away.headers["location"])
        assert back.status_code == 302, back.text
        return back.headers["location"]

    async def sign_in(self, path: str = "/login/oidc") -> httpx.Response:
        return await self.visitor.open(await self.leave(path))

    async def is_in(self) -> bool:
        return (await self.visitor.open("/incidents")).status_code == 200


@pytest.fixture
async def nadia(database: Database) -> User:
    """Who is known here."""
    async with database.transaction() as session:
        now = await database.now(session)
        user = await users.redeem_login_link(session, token=await users.create_login_link(session, now=now), now=now)
        assert user is not None
        await session.execute(text("UPDATE users SET email = :email"), {"email": EMAIL})
        return user


@pytest.fixture
async def together(parts: ConsoleDependencies, nadia: User) -> AsyncIterator[Together]:
    async with providing() as (provider, at_provider):
        with_issuer = replace(parts, oidc_provider=oidc_provider_at(provider.issuer))
        async with visiting(with_issuer) as visitor:
            yield Together(provider, at_provider, visitor)


def oidc_provider_at(url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> OidcProvider:
    client = OidcClient(url, CLIENT_ID, CLIENT_SECRET)
    return OidcProvider(client, public_url="http://makegood.example", transport=transport or GuardedTransport(allow=LOOPBACK))


async def test_a_known_person_comes_in(together: Together) -> None:
    page = await together.visitor.open("/login")

    answer = await together.sign_in()

    assert f"Sign in with {urlsplit(together.provider.issuer).hostname}" in page.text
    assert (answer.status_code, answer.headers["location"]) == (303, "/incidents")
    assert await together.is_in()
    assert EMAIL in (await together.visitor.open("/incidents")).text


async def test_each_way_to_the_provider_is_another(together: Together) -> None:
    asked = [parse_qs(urlsplit((await together.visitor.open("/login/oidc")).headers["location"]).query) for _ in range(2)]

    assert not any(asked[0][name] == asked[1][name] for name in ("state", "nonce", "code_challenge"))


def but(**claims: object) -> Callable[[Json], Json]:
    """The right claims but for these; None takes one away."""
    return lambda right: {name: value for name, value in {**right, **claims}.items() if value is not None}


WRONG = {
    "nonce": but(nonce="another"),
    "no nonce": but(nonce=None),
    "audience": but(aud="another client"),
    "audiences": but(aud=["another client"]),
    "no audience": but(aud=None),
    "authorized party": but(aud=[CLIENT_ID, "another"], azp="another"),
    "issuer": but(iss="https://evil.example"),
    "no issuer": but(iss=None),
    "expired": but(exp=int(time.time()) - 120),
    "no expiry": but(exp=None),
    "not yet": but(nbf=int(time.time()) + 3_600),
    "access token": but(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
    "no subject": but(sub=None),
    "a claim of another type": but(exp={"never": True}),
}


async def test_a_token_with_a_wrong_claim_is_refused(together: Together) -> None:
    taken = []
    for name, change in WRONG.items():
        together.provider.change = change
        answer = await together.sign_in()
        if answer.status_code != 403 or await together.is_in() or together.provider.requests[-1] != "jwks":
            taken.append(name)

    assert taken == []
    together.provider.change = but()
    assert (await together.sign_in()).status_code == 303


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


async def test_a_token_that_the_provider_did_not_sign_is_refused(together: Together) -> None:
    taken = []
    for name, sign in FORGED.items():
        together.provider.sign = sign
        answer = await together.sign_in()
        if answer.status_code != 403 or await together.is_in() or together.provider.requests[-1] != "jwks":
            taken.append(name)

    assert taken == []


@pytest.mark.parametrize(
    ("answer", "is_redeemed"),
    [({"state": "another"}, False), ({"iss": "https://evil.example"}, False), ({"code": "made up"}, True)],
    ids=["state", "issuer", "code"],
)
async def test_an_answer_that_was_not_asked_for_is_refused(together: Together, answer: dict[str, str], is_redeemed: bool) -> None:
    together.provider.answer = answer

    refused = await together.sign_in()

    assert refused.status_code == 403
    assert not await together.is_in()
    assert ("token" in together.provider.requests) is is_redeemed


async def test_an_answer_is_good_in_the_browser_that_asked_and_once(together: Together, parts: ConsoleDependencies) -> None:
    address = await together.leave()
    async with visiting(replace(parts, oidc_provider=oidc_provider_at(together.provider.issuer))) as other:
        elsewhere = await other.open(address)
    first = await together.visitor.open(address)
    second = await together.visitor.open(address)

    assert [answer.status_code for answer in (elsewhere, first, second)] == [403, 303, 403]


async def test_an_answer_that_comes_too_late_is_refused(together: Together, database: Database) -> None:
    address = await together.leave()
    database.clock.skew = timedelta(minutes=11)

    assert (await together.visitor.open(address)).status_code == 403


async def test_a_refusal_at_the_provider_is_told(together: Together) -> None:
    state = parse_qs(urlsplit((await together.visitor.open("/login/oidc")).headers["location"]).query)["state"][0]

    answer = await together.visitor.open(f"/login/oidc/callback?error=access_denied&state={state}")

    assert answer.status_code == 403
    assert "did not sign you in" in answer.text


async def test_who_had_the_account_before_its_address_was_proven_is_out(
    together: Together, parts: ConsoleDependencies, project: CreatedProject
) -> None:
    """Somebody takes an invitation for an address that is not his, and waits for whose it is."""
    people = People.build(parts.database, parts.sealer)
    token = await people.invitations.invite(project.project.id, email="ada@shop.example", role="viewer", actor=Actor("usr_none"))
    async with visiting(parts) as squatter:
        await squatter.post("/join", page=f"/join?token={token}")
        known = {"email": "ada@shop.example", "password": PASSWORD}
        await squatter.post("/login/password", page="/login/password", **known)
        link = await people.accounts.create_link("ada@shop.example", actor=Actor("cli:root"))
        before = (await squatter.open("/incidents")).status_code
        together.provider.person = {"sub": "7", "email": "ada@shop.example", "email_verified": True}

        answer = await together.sign_in()

        after = (await squatter.open("/incidents")).status_code
        by_password = await squatter.post("/login", page="/login", **known)
        by_link = await squatter.post("/login/link", page=f"/login/link?token={link}")
    assert (before, after, by_password.status_code, by_link.status_code) == (200, 303, 422, 422)
    assert answer.status_code == 303
    assert (await together.visitor.open(f"/projects/{project.project.id}")).status_code == 200


async def test_a_proof_at_the_provider_makes_no_address_somebodys(together: Together, member: Visitor) -> None:
    """Who is signed in here and never was there is not known by it; nothing of the account changes."""
    together.visitor.client.cookies.update(member.client.cookies)

    refused = await together.sign_in("/login/oidc?back=/projects")

    assert refused.status_code == 403
    assert (await member.open("/incidents")).status_code == 200


STRANGERS = {
    "unknown": {"email": "eve@shop.example"},
    "not verified": {"email_verified": False},
    "verified by word": {"email_verified": "true"},
    "nothing said": {"email_verified": None},
}


async def test_whom_nobody_knows_is_let_in_nowhere(together: Together) -> None:
    let_in = []
    for name, claims in STRANGERS.items():
        together.provider.change = but(**claims)
        answer = await together.sign_in()
        if "You have no account here" not in answer.text or await together.is_in():
            let_in.append(name)

    assert let_in == []


async def test_who_is_known_stays_known_by_subject_and_an_address_given_on_lets_nobody_in(together: Together) -> None:
    await together.sign_in()
    together.provider.person = {"sub": "248289761001", "email": "married@shop.example", "email_verified": True}
    same_person = await together.sign_in()
    together.provider.person = {"sub": "999", "email": EMAIL, "email_verified": True}
    successor = await together.sign_in()

    assert (same_person.status_code, successor.status_code) == (303, 403)


async def test_the_second_factor_is_asked_for_here_too(
    together: Together, database: Database, sealer: Sealer, nadia: User
) -> None:
    async with database.transaction() as session:
        now = await database.now(session)
        totp = pyotp.TOTP(await factors.begin_totp(session, sealer, nadia.user_id, now=now))
        await factors.confirm_totp(session, sealer, nadia.user_id, code=totp.at(now), now=now)

    answer = await together.sign_in()

    assert answer.headers["location"] == "/login/code"
    assert not await together.is_in()


METADATA = {
    "another issuer": {"issuer": "https://evil.example"},
    "no endpoint": {"token_endpoint": None},
    "another scheme": {"token_endpoint": "ftp://127.0.0.1/token"},
}


async def test_a_provider_that_describes_itself_wrongly_is_not_used(together: Together) -> None:
    used = []
    for name, metadata in METADATA.items():
        together.provider.metadata = metadata
        answer = await together.visitor.open("/login/oidc")
        if answer.status_code != 403 or "did not sign you in" not in answer.text:
            used.append(name)

    assert used == []


async def test_each_request_to_the_provider_is_judged_where_it_leads(parts: ConsoleDependencies, together: Together) -> None:
    guarded = replace(parts, oidc_provider=oidc_provider_at(together.provider.issuer, transport=GuardedTransport(allow=())))
    async with visiting(guarded) as visitor:
        at_once = await visitor.open("/login/oidc")
    asked_before = len(together.provider.requests)
    # The provider itself may be called; where it sends for its keys may not.
    together.provider.metadata = {"jwks_uri": "http://169.254.169.254/latest/meta-data"}
    later = await together.sign_in()

    assert (at_once.status_code, asked_before) == (403, 0)
    assert later.status_code == 403
    assert "169.254" not in later.text


async def test_without_a_provider_none_is_offered(operator: Visitor) -> None:
    assert (await operator.open("/login/oidc")).status_code == 404
    assert "/login/oidc" not in (await operator.open("/login")).text


async def test_who_is_asked_again_proves_himself_there_anew(together: Together, database: Database) -> None:
    await together.sign_in()
    database.clock.skew = timedelta(minutes=11)
    later = int(time.time()) + 660
    fresh = {"iat": later, "exp": later + 300, "auth_time": later}
    answers = []
    async with database.transaction() as session:
        await session.execute(text("INSERT INTO users (id, email, created_at) VALUES ('usr_eve', 'eve@shop.example', 0)"))

    away = await together.visitor.open("/login/oidc?back=/projects")
    for claims in ({"auth_time": later - 300}, {"auth_time": None}, {"sub": "999", "email": "eve@shop.example"}, {}):
        together.provider.change = but(**{**fresh, **claims})
        answers.append((await together.sign_in("/login/oidc?back=/projects")).status_code)
        async with database.reading() as session:
            proved_at = await factors.read_proved_at(session, token=together.visitor.client.cookies["makegood_session"])
            answers.append(proved_at is not None and proved_at > await database.now(session) - timedelta(minutes=1))

    asked = parse_qs(urlsplit(away.headers["location"]).query)
    assert (asked["prompt"], asked["max_age"]) == (["login"], ["0"])
    assert answers == [403, False] * 3 + [303, True]


async def test_who_has_no_password_is_sent_there_to_be_asked_again(together: Together, database: Database) -> None:
    await together.sign_in()
    database.clock.skew = timedelta(minutes=11)

    asked = await together.visitor.post("/projects", page="/projects", name="new", mode="test")

    assert 'href="/login/oidc?back=/projects"' in asked.text


async def test_ways_in_and_out_there_are_in_the_audit_log(together: Together, parts: ConsoleDependencies, nadia: User) -> None:
    """What the provider refuses or answers wrongly, who is nobody here, and who becomes known by it; no address, no subject."""
    together.provider.answer = {"code": "made up"}
    await together.sign_in()
    together.provider.answer = {}
    await together.visitor.open("/login/oidc/callback?code=x&state=y")
    together.provider.person = {"sub": "eve there", "email": "eve@shop.example", "email_verified": True}
    await together.sign_in()
    together.provider.person = {"sub": "248289761001", "email": EMAIL, "email_verified": True}
    await together.sign_in()
    await together.sign_in()
    together.provider.person = {"sub": "eve there", "email": EMAIL, "email_verified": True}
    await together.sign_in("/login/oidc?back=/projects")
    await together.sign_in()

    entries = await log(parts)
    failed, proof = ("sign_in_failed", "visitor"), ("proof_failed", nadia.user_id)
    in_order = [(entry["action"], entry["actor"], entry["subject_id"]) for entry in entries]
    assert in_order == [
        (*failed, None),
        (*failed, None),
        (*failed, None),
        ("identity_linked", nadia.user_id, nadia.user_id),
        ("signed_in", nadia.user_id, nadia.user_id),
        ("signed_in", nadia.user_id, nadia.user_id),
        (*proof, nadia.user_id),
        (*failed, nadia.user_id),
    ]
    assert [entry["details"] for entry in entries] == [{} if "linked" in action else {"by": "oidc"} for action, *_ in in_order]
    assert not re.search("shop.example|eve there|made up", json.dumps(entries))


async def test_strangers_whom_the_provider_vouches_for_are_slowed_down(
    together: Together, parts: ConsoleDependencies, database: Database
) -> None:
    """Each of them leaves an entry: without an end to it they could fill the log."""
    await address_with_one_try(database)
    together.provider.person = {"sub": "eve there", "email": "eve@shop.example", "email_verified": True}

    answers = [(await together.sign_in()).status_code for _ in range(3)]

    assert answers == [403, 429, 429]
    assert [entry["action"] for entry in await log(parts)] == ["sign_in_failed", "tries_refused"]
