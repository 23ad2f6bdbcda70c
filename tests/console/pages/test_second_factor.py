"""The second factor: setup, sign-in, recovery codes and removal."""

import json
import re
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pyotp
import pytest

from api.console.composition import ConsoleDependencies
from domain.security.login_backoff import CODE
from store.db.database import Database
from store.people import users
from tests.console.conftest import EMAIL, PASSWORD, Visitor, visiting
from tests.console.pages.test_audit import log

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclass(frozen=True, slots=True)
class Phone:
    """A user with an authenticator app and recovery codes."""

    visitor: Visitor
    database: Database
    secret: str
    codes: tuple[str, ...]

    async def code(self) -> str:
        async with self.database.reading() as session:
            return pyotp.TOTP(self.secret).at(await self.database.now(session))

    async def wrong_code(self) -> str:
        return f"{(int(await self.code()) + 500_000) % 1_000_000:06}"

    def later(self, **span: float) -> None:
        self.database.clock.skew += timedelta(**span)

    async def leave(self) -> None:
        await self.visitor.post("/logout", page="/incidents")

    async def give_password(self) -> httpx.Response:
        return await self.visitor.post("/login", page="/login", email=EMAIL, password=PASSWORD)

    async def give_code(self, code: str) -> httpx.Response:
        return await self.visitor.post("/login/code", page="/login/code", code=code)

    async def is_in(self) -> bool:
        return (await self.visitor.open("/incidents")).status_code == 200


@pytest.fixture
async def phone(member: Visitor, database: Database) -> Phone:
    """An app that was set up a minute ago."""
    begun = await member.post("/account/totp", page="/account/security")
    assert begun.headers["location"] == "/account/totp"
    secret = shown_secrets((await member.open("/account/totp")).text)[0].replace(" ", "")
    phone = Phone(member, database, secret, ())
    confirmed = await member.post(
        "/account/totp/confirm", page="/account/totp", code=await phone.code()
    )
    assert confirmed.status_code == 303
    codes = shown_secrets((await member.open("/account/security")).text)
    phone.later(minutes=1)
    return Phone(member, database, secret, tuple(codes))


@pytest.fixture
async def operator(signed_in_by_form: Visitor) -> Visitor:
    """The sign-in has its entry in the audit log."""
    return signed_in_by_form


def shown_secrets(page: str) -> list[str]:
    return re.findall(r"<code data-secret=\"[^\"]*\">([^<]*)</code>", page)


async def test_recovery_codes_are_shown_once(phone: Phone) -> None:
    again = (await phone.visitor.open("/account/security")).text

    assert len(phone.codes) == len(set(phone.codes)) == 10
    assert shown_secrets(again) == []
    assert "10 of 10 left" in again


async def test_a_wrong_code_turns_nothing_on(operator: Visitor) -> None:
    await operator.post("/account/totp", page="/account/security")

    answer = await operator.post("/account/totp/confirm", page="/account/totp", code="12345")

    assert answer.status_code == 422
    assert "Off. Sign-in does not ask" in (await operator.open("/account/security")).text


async def test_the_qr_code_complies_with_the_strict_policy(operator: Visitor) -> None:
    await operator.post("/account/totp", page="/account/security")
    page = await operator.open("/account/totp")
    picture = await operator.open("/account/totp/qr.svg")

    assert '<img src="/account/totp/qr.svg"' in page.text
    assert "data:" not in page.text
    assert picture.headers["content-type"] == "image/svg+xml"
    assert picture.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in picture.headers["content-security-policy"]
    assert picture.text.startswith("<?xml") or picture.text.startswith("<svg")
    assert not re.search(r"style=|<style|<script|href=", picture.text)


async def test_a_confirmed_secret_is_never_shown(phone: Phone) -> None:
    for path in ("/account/totp", "/account/totp/qr.svg"):
        assert (await phone.visitor.open(path)).status_code == 404


async def test_password_alone_does_not_sign_in(phone: Phone) -> None:
    await phone.leave()

    half = await phone.give_password()
    inside = await phone.is_in()
    wrong = await phone.give_code(await phone.wrong_code())
    still = await phone.is_in()
    right = await phone.give_code(await phone.code())

    assert (half.headers["location"], inside, wrong.status_code, still) == (
        "/login/code",
        False,
        422,
        False,
    )
    assert (right.status_code, right.headers["location"], await phone.is_in()) == (
        303,
        "/incidents",
        True,
    )


async def test_a_code_signs_in_once(phone: Phone, parts: ConsoleDependencies) -> None:
    await phone.leave()
    await phone.give_password()
    code = await phone.code()
    await phone.give_code(code)

    async with visiting(parts) as thief:
        other = Phone(thief, phone.database, phone.secret, ())
        await other.give_password()
        replayed = await other.give_code(code)

        assert (replayed.status_code, await other.is_in()) == (422, False)


async def test_a_link_needs_a_code_too(phone: Phone) -> None:
    await phone.leave()
    async with phone.database.transaction() as session:
        token = await users.create_login_link(session, now=await phone.database.now(session))

    answer = await phone.visitor.post("/login/link", page=f"/login/link?token={token}")

    assert answer.headers["location"] == "/login/code"
    assert not await phone.is_in()
    assert (await phone.give_code(await phone.code())).headers["location"] == "/login/password"


async def test_a_recovery_code_signs_in_once(phone: Phone) -> None:
    signed_in = []
    for _ in range(2):
        await phone.leave()
        await phone.give_password()
        signed_in.append((await phone.give_code(phone.codes[0])).status_code)
        if signed_in == [303]:
            assert "9 of 10 left" in (await phone.visitor.open("/account/security")).text

    assert signed_in == [303, 422]


async def test_a_pending_sign_in_expires(phone: Phone) -> None:
    await phone.leave()
    await phone.give_password()
    phone.later(minutes=11)

    assert (await phone.visitor.open("/login/code")).headers["location"] == "/login"


async def test_no_code_is_asked_for_without_a_first_factor(visitor: Visitor) -> None:
    visitor.client.cookies.set("makegood_pending_second_factor", "made up")

    assert (await visitor.open("/login/code")).headers["location"] == "/login"


async def test_code_attempts_are_rate_limited(phone: Phone) -> None:
    await phone.leave()
    await phone.give_password()

    wrong = [(await phone.give_code("no code")).status_code for _ in range(CODE.free)]
    even_right = await phone.give_code(await phone.code())
    phone.later(seconds=int(even_right.headers["retry-after"]))
    at_last = await phone.give_code(await phone.code())

    assert (wrong, even_right.status_code, at_last.status_code) == ([422] * CODE.free, 429, 303)


async def test_new_recovery_codes_end_the_old_ones(phone: Phone) -> None:
    await phone.visitor.post("/account/recovery-codes", page="/account/security")
    new = shown_secrets((await phone.visitor.open("/account/security")).text)
    await phone.leave()
    await phone.give_password()

    assert not set(new) & set(phone.codes)
    assert (await phone.give_code(phone.codes[0])).status_code == 422
    assert (await phone.give_code(new[0])).status_code == 303


async def test_turning_it_off_needs_a_code(phone: Phone) -> None:
    form = {"path": "/account/totp/remove", "page": "/account/security"}
    await phone.visitor.post(**form, code=await phone.wrong_code())
    on = (await phone.visitor.open("/account/security")).text
    await phone.visitor.post(**form, code=await phone.code())
    off = (await phone.visitor.open("/account/security")).text
    await phone.leave()

    assert ("On. Every sign-in" in on, "Off. Sign-in does not ask" in off) == (True, True)
    assert (await phone.give_password()).headers["location"] == "/incidents"


async def test_second_factor_actions_are_in_the_audit_log(
    phone: Phone, parts: ConsoleDependencies
) -> None:
    await phone.visitor.post("/account/recovery-codes", page="/account/security")
    new = shown_secrets((await phone.visitor.open("/account/security")).text)
    await phone.leave()
    await phone.give_password()
    wrong = await phone.wrong_code()
    await phone.give_code(wrong)
    await phone.give_code(new[0])
    await phone.leave()
    await phone.give_password()
    await phone.give_code(await phone.code())
    form = {"path": "/account/totp/remove", "page": "/account/security"}
    await phone.visitor.post(**form, code=wrong)
    await phone.visitor.post(**form, code=new[1])

    entries = (await log(parts))[2:]
    recorded = [
        (entry["action"], entry["actor"], entry["details"])
        for entry in entries
        if entry["action"] != "signed_out"
    ]
    ada = entries[0]["actor"]
    assert recorded == [
        ("second_factor_enabled", ada, {}),
        ("recovery_codes_renewed", ada, {}),
        ("sign_in_failed", "visitor", {"by": "code", "after": "password"}),
        ("recovery_code_used", ada, {"left": 9}),
        ("signed_in", ada, {"by": "recovery_code", "after": "password"}),
        ("signed_in", ada, {"by": "code", "after": "password"}),
        ("proof_failed", ada, {"by": "code"}),
        ("recovery_code_used", ada, {"left": 0}),
        ("second_factor_removed", ada, {}),
    ]
    assert {entry["subject_id"] for entry in entries} == {ada}
    assert not [code for code in (*new, *phone.codes, phone.secret) if code in json.dumps(entries)]
