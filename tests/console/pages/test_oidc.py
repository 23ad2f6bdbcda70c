"""Sign-in through an identity provider: known users with a valid response only."""

import json
import re
import time
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from sqlalchemy import text

from api.console.composition import ConsoleDependencies
from domain.audit import Actor
from domain.projects import CreatedProject
from domain.users import User
from operations.people.composition import People
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import passkeys
from store.people import second_factor as factors
from tests.console.conftest import EMAIL, PASSWORD, Visitor, visiting
from tests.console.oidc_browsers import OidcBrowsers, changed_claims
from tests.console.pages.test_audit import log
from tests.console.sign_in.test_login_attempts import address_with_one_try
from tests.support.passkeys import new_passkey

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def test_a_known_user_is_signed_in(browsers: OidcBrowsers) -> None:
    page = await browsers.visitor.open("/login")

    answer = await browsers.sign_in()

    assert f"Sign in with {urlsplit(browsers.provider.issuer).hostname}" in page.text
    assert (answer.status_code, answer.headers["location"]) == (303, "/incidents")
    assert await browsers.is_in()
    assert EMAIL in (await browsers.visitor.open("/incidents")).text


async def test_first_oidc_sign_in_ends_password_sessions_and_links_of_the_account(
    browsers: OidcBrowsers, parts: ConsoleDependencies, project: CreatedProject
) -> None:
    """A squatter accepts an invitation for another person's address and waits for them."""
    people = People.build(parts.database, parts.sealer)
    token = await people.invitations.invite(
        project.project.id, email="ada@shop.example", role="viewer", actor=Actor("usr_none")
    )
    async with visiting(parts) as squatter:
        await squatter.post("/join", page=f"/join?token={token}")
        known = {"email": "ada@shop.example", "password": PASSWORD}
        await squatter.post("/login/password", page="/login/password", **known)
        link = await people.accounts.create_link("ada@shop.example", actor=Actor("cli:root"))
        before = (await squatter.open("/incidents")).status_code
        browsers.provider.person = {"sub": "7", "email": "ada@shop.example", "email_verified": True}

        answer = await browsers.sign_in()

        after = (await squatter.open("/incidents")).status_code
        by_password = await squatter.post("/login", page="/login", **known)
        by_link = await squatter.post("/login/link", page=f"/login/link?token={link}")
    assert (before, after, by_password.status_code, by_link.status_code) == (200, 303, 422, 422)
    assert answer.status_code == 303
    assert (await browsers.visitor.open(f"/projects/{project.project.id}")).status_code == 200


async def test_a_step_up_links_no_identity(browsers: OidcBrowsers, member: Visitor) -> None:
    """The account of a user without a linked identity does not change."""
    browsers.visitor.client.cookies.update(member.client.cookies)

    refused = await browsers.sign_in("/login/oidc?back=/projects")

    assert refused.status_code == 403
    assert (await member.open("/incidents")).status_code == 200


STRANGERS = {
    "unknown": {"email": "eve@shop.example"},
    "not verified": {"email_verified": False},
    "verified by word": {"email_verified": "true"},
    "nothing said": {"email_verified": None},
}


async def test_unknown_or_unverified_addresses_are_refused(browsers: OidcBrowsers) -> None:
    let_in = []
    for name, claims in STRANGERS.items():
        browsers.provider.change = changed_claims(**claims)
        answer = await browsers.sign_in()
        if "You have no account here" not in answer.text or await browsers.is_in():
            let_in.append(name)

    assert let_in == []


async def test_known_users_are_identified_by_subject_not_by_address(browsers: OidcBrowsers) -> None:
    await browsers.sign_in()
    browsers.provider.person = {
        "sub": "248289761001",
        "email": "married@shop.example",
        "email_verified": True,
    }
    same_person = await browsers.sign_in()
    browsers.provider.person = {"sub": "999", "email": EMAIL, "email_verified": True}
    successor = await browsers.sign_in()

    assert (same_person.status_code, successor.status_code) == (303, 403)


async def test_oidc_sign_in_needs_the_second_factor(
    browsers: OidcBrowsers, database: Database, sealer: Sealer, nadia: User
) -> None:
    async with database.transaction() as session:
        now = await database.now(session)
        totp = pyotp.TOTP(await factors.begin_totp(session, sealer, nadia.user_id, now=now))
        await factors.confirm_totp(session, sealer, nadia.user_id, code=totp.at(now), now=now)

    answer = await browsers.sign_in()

    assert answer.headers["location"] == "/login/code"
    assert not await browsers.is_in()


async def test_first_oidc_sign_in_removes_passkeys(
    browsers: OidcBrowsers, database: Database, nadia: User
) -> None:
    """Somebody else may have accepted an invitation for the address, and kept a passkey."""
    for number in range(2):
        async with database.transaction() as session:
            now, made = await database.now(session), new_passkey(f"cred-{number}")
            await passkeys.add_passkey(session, nadia.user_id, made, name="Phone", now=now)
            await factors.renew_recovery_codes(session, nadia.user_id, now=now)
        answer = await browsers.sign_in()
        async with database.reading() as session:
            left = await passkeys.count_passkeys(session, nadia.user_id)
            codes = await factors.count_recovery_codes(session, nadia.user_id)
        # Those of later are her own, and the second factor is asked for.
        expected = ("/login/code", 1, 10) if number else ("/incidents", 0, 0)
        assert (answer.headers["location"], left, codes) == expected


async def test_without_a_provider_there_is_no_oidc_sign_in(operator: Visitor) -> None:
    assert (await operator.open("/login/oidc")).status_code == 404
    assert "/login/oidc" not in (await operator.open("/login")).text


async def test_step_up_needs_a_new_sign_in_at_the_provider(
    browsers: OidcBrowsers, database: Database
) -> None:
    await browsers.sign_in()
    database.clock.skew = timedelta(minutes=11)
    later = int(time.time()) + 660
    fresh = {"iat": later, "exp": later + 300, "auth_time": later}
    answers = []
    async with database.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO users (id, email, created_at) VALUES ('usr_eve',"
                " 'eve@shop.example', 0)"
            )
        )

    away = await browsers.visitor.open("/login/oidc?back=/projects")
    for claims in (
        {"auth_time": later - 300},
        {"auth_time": None},
        {"sub": "999", "email": "eve@shop.example"},
        {},
    ):
        browsers.provider.change = changed_claims(**{**fresh, **claims})
        answers.append((await browsers.sign_in("/login/oidc?back=/projects")).status_code)
        async with database.reading() as session:
            proved_at = await factors.read_proved_at(
                session, token=browsers.visitor.client.cookies["makegood_session"]
            )
            answers.append(
                proved_at is not None
                and proved_at > await database.now(session) - timedelta(minutes=1)
            )

    asked = parse_qs(urlsplit(away.headers["location"]).query)
    assert (asked["prompt"], asked["max_age"]) == (["login"], ["0"])
    assert answers == [403, False] * 3 + [303, True]


async def test_user_without_a_password_confirms_at_the_provider(
    browsers: OidcBrowsers, database: Database
) -> None:
    await browsers.sign_in()
    database.clock.skew = timedelta(minutes=11)

    asked = await browsers.visitor.post("/projects", page="/projects", name="new", mode="test")

    assert 'href="/login/oidc?back=/projects"' in asked.text


async def test_oidc_sign_ins_are_in_the_audit_log(
    browsers: OidcBrowsers, parts: ConsoleDependencies, nadia: User
) -> None:
    """Failures, unknown identities and linked accounts, without address and subject."""
    browsers.provider.answer = {"code": "made up"}
    await browsers.sign_in()
    browsers.provider.answer = {}
    await browsers.visitor.open("/login/oidc/callback?code=x&state=y")
    browsers.provider.person = {
        "sub": "eve there",
        "email": "eve@shop.example",
        "email_verified": True,
    }
    await browsers.sign_in()
    browsers.provider.person = {"sub": "248289761001", "email": EMAIL, "email_verified": True}
    await browsers.sign_in()
    await browsers.sign_in()
    browsers.provider.person = {"sub": "eve there", "email": EMAIL, "email_verified": True}
    await browsers.sign_in("/login/oidc?back=/projects")
    await browsers.sign_in()

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
    assert [entry["details"] for entry in entries] == [
        {} if "linked" in action else {"by": "oidc"} for action, *_ in in_order
    ]
    assert not re.search("shop.example|eve there|made up", json.dumps(entries))


async def test_verified_but_unknown_people_are_rate_limited(
    browsers: OidcBrowsers, parts: ConsoleDependencies, database: Database
) -> None:
    """Every attempt leaves an entry, so that the number must be limited."""
    await address_with_one_try(database)
    browsers.provider.person = {
        "sub": "eve there",
        "email": "eve@shop.example",
        "email_verified": True,
    }

    answers = [(await browsers.sign_in()).status_code for _ in range(3)]

    assert answers == [403, 429, 429]
    assert [entry["action"] for entry in await log(parts)] == ["sign_in_failed", "tries_refused"]
