"""Passkeys: add, rename and remove them; sign in by one; use it as second factor and as proof.

A software authenticator signs. What a browser does with it is in
`tests/console/in_browser/test_passkeys.py`.
"""

import re
from dataclasses import replace

import pyotp
import pytest

from api.console.composition import ConsoleDependencies
from domain.projects import CreatedProject
from domain.security.passkeys import MOST_PASSKEYS
from store.db.database import Database
from store.people import passkeys, second_factor
from store.people.users import list_users
from tests.console.conftest import Visitor, visiting
from tests.console.pages.test_audit import log
from tests.console.pages.test_second_factor import shown_secrets
from tests.console.passkeys import PUBLIC_URL, Holder, problem_of
from tests.console.sign_in.test_step_up import asks_for_proof, send
from tests.support.passkeys import Authenticator, new_passkey

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def parts(parts: ConsoleDependencies) -> ConsoleDependencies:
    return replace(parts, public_url=PUBLIC_URL)


@pytest.fixture
async def operator(signed_in_by_form: Visitor) -> Visitor:
    """The sign-in has its entry in the audit log."""
    return signed_in_by_form


@pytest.fixture
def holder(member: Visitor, parts: ConsoleDependencies) -> Holder:
    """A signed-in user with a password, and an authenticator that is not registered yet."""
    return Holder(member, parts, Authenticator(PUBLIC_URL))


@pytest.fixture
async def registered(holder: Holder) -> Holder:
    """The same after the passkey was added and the recovery codes were shown."""
    assert (await holder.add()).status_code == 303
    assert len(shown_secrets((await holder.visitor.open("/account")).text)) == 10
    return holder


async def test_options_of_a_new_passkey_name_the_host_and_no_address(holder: Holder) -> None:
    options = await holder.creation_options()

    assert options["rp"] == {"name": "Makegood", "id": "makegood.localhost"}
    assert options["attestation"] == "none"
    selection = options["authenticatorSelection"]
    assert selection["residentKey"] == selection["userVerification"] == "required"
    assert options["excludeCredentials"] == []
    async with holder.parts.database.reading() as session:
        (user,) = await list_users(session)
    device = holder.device
    device.create(options)
    assert device.user_handle.decode() == user.user_id


async def test_first_passkey_brings_recovery_codes_once(holder: Holder) -> None:
    added = await holder.add(name="  My phone ")
    page = (await holder.visitor.open("/account")).text
    again = (await holder.visitor.open("/account")).text
    second = Holder(holder.visitor, holder.parts, Authenticator(PUBLIC_URL))
    await second.add(name="Key <b>")
    third = (await holder.visitor.open("/account")).text

    assert (added.status_code, added.headers["location"]) == (303, "/account")
    assert len(shown_secrets(page)) == 10
    assert shown_secrets(again) == shown_secrets(third) == []
    assert "Passkey “Key &lt;b&gt;” added." in third
    assert re.findall(r"<tr>\s*<td>((?:My|Key)[^<]*)<", third) == ["My phone", "Key &lt;b&gt;"]
    assert third.count(">Never</td>") == 2


async def test_options_exclude_the_passkeys_that_the_user_has(registered: Holder) -> None:
    options = await registered.creation_options()

    (known,) = options["excludeCredentials"]
    assert known["type"] == "public-key"
    again = Holder(registered.visitor, registered.parts, registered.device)
    await again.add()
    assert await registered.notice() == "This passkey is already registered."


async def test_passkey_alone_signs_in_and_leads_back(registered: Holder) -> None:
    await registered.leave()
    options = await registered.options("/login/passkey/options")

    answer = await registered.sign_in(registered.device.use(options), back="/projects?x=1")

    assert options["allowCredentials"] == []
    assert options["userVerification"] == "required"
    assert (answer.status_code, answer.headers["location"]) == (303, "/projects?x=1")
    assert await registered.is_in()
    assert ">Never</td>" not in (await registered.visitor.open("/account")).text


async def test_passkey_counts_as_both_factors_and_as_a_proof(
    registered: Holder, project: CreatedProject
) -> None:
    """Nothing asks for the code of the app, and a sensitive action follows at once."""
    await with_app(registered)
    registered.later(minutes=11)
    await registered.leave()

    signed_in = await registered.sign_in()
    done = await send(registered.visitor, f"/projects/{project.project.id}/keys", label="mine")

    assert signed_in.headers["location"] == "/incidents"
    assert (done.status_code, asks_for_proof(done)) == (303, False)


async def with_app(holder: Holder) -> str:
    """Set up an authenticator app for the only user. Returns its secret."""
    async with holder.parts.database.transaction() as session:
        (user,) = await list_users(session)
        now = await holder.parts.database.now(session)
        secret = await second_factor.begin_totp(session, holder.parts.sealer, user.user_id, now=now)
        code = pyotp.TOTP(secret).at(now)
        await second_factor.confirm_totp(
            session, holder.parts.sealer, user.user_id, code=code, now=now
        )
    return secret


async def test_password_alone_no_longer_signs_in(registered: Holder) -> None:
    await registered.leave()

    asked = await registered.give_password()
    was_in = await registered.is_in()
    page = (await registered.visitor.open("/login/code")).text
    confirmed = await registered.confirm()

    assert asked.headers["location"] == "/login/code"
    assert not was_in
    assert "Use your passkey, or enter one of your recovery codes." in page
    assert (confirmed.status_code, confirmed.headers["location"]) == (303, "/incidents")
    assert await registered.is_in()


async def test_prompt_of_the_second_factor_names_the_users_passkeys(registered: Holder) -> None:
    await registered.leave()
    await registered.give_password()

    options = await registered.options("/login/code/options", page="/login/code")

    (allowed,) = options["allowCredentials"]
    assert sorted(allowed["transports"]) == ["hybrid", "internal"]
    assert options["rpId"] == "makegood.localhost"


async def test_app_and_passkey_are_both_accepted_as_second_factor(registered: Holder) -> None:
    secret = await with_app(registered)
    registered.later(minutes=1)
    for _ in range(2):
        await registered.leave()
        await registered.give_password()
        page = (await registered.visitor.open("/login/code")).text
        assert "Use a passkey, enter the six-digit code" in page
        if _:
            await registered.confirm()
        else:
            async with registered.parts.database.reading() as session:
                code = pyotp.TOTP(secret).at(await registered.parts.database.now(session))
            await registered.send("/login/code", "/login/code", code=code)

        assert await registered.is_in()


async def test_recovery_code_replaces_a_lost_passkey(holder: Holder) -> None:
    await holder.add()
    codes = shown_secrets((await holder.visitor.open("/account")).text)
    await holder.leave()
    await holder.give_password()

    await holder.send("/login/code", "/login/code", code=codes[0])

    assert await holder.is_in()


async def test_proof_by_passkey_continues_the_action(
    registered: Holder, project: CreatedProject
) -> None:
    registered.later(minutes=11)
    path = f"/projects/{project.project.id}/keys"
    asked = await send(registered.visitor, path, label="mine")
    carried = re.findall(r'name="carried" value="([^"]*)"', asked.text)[0]

    options = await registered.options("/account/proof/options", page="/account")
    answer = registered.device.use(options)
    done = await registered.send(path, "/account", carried=carried, passkey=answer)
    next_one = await send(registered.visitor, path, label="another")

    assert asks_for_proof(asked)
    assert "Recovery code" in asked.text
    assert "Password" not in asked.text
    assert (done.status_code, next_one.status_code) == (303, 303)
    page = (await registered.visitor.open(f"/projects/{project.project.id}")).text
    assert ">mine<" in page


async def test_adding_renaming_and_removing_ask_for_a_proof(registered: Holder) -> None:
    (path,) = re.findall(
        r'action="(/account/passkeys/psk_\w+)/rename"',
        (await registered.visitor.open("/account")).text,
    )
    registered.later(minutes=11)

    asked = [
        await send(registered.visitor, one, name="mine")
        for one in ("/account/passkeys/begin", "/account/passkeys", f"{path}/rename")
    ]
    asked.append(await send(registered.visitor, f"{path}/remove"))

    assert [asks_for_proof(answer) for answer in asked] == [True] * 4
    page = (await registered.visitor.open("/account")).text
    assert f"{path}/rename" in page
    assert ">mine" not in page


async def test_passkey_is_renamed_and_removed_and_then_the_password_is_enough(
    registered: Holder,
) -> None:
    page = (await registered.visitor.open("/account")).text
    (path,) = re.findall(r'action="(/account/passkeys/psk_\w+)/rename"', page)

    await registered.visitor.post(f"{path}/rename", page="/account", name="Old phone")
    renamed = (await registered.visitor.open("/account")).text
    await registered.visitor.post(f"{path}/remove", page="/account")
    removed = (await registered.visitor.open("/account")).text
    await registered.leave()
    await registered.give_password()

    assert "Old phone" in renamed
    assert "You have no passkeys." in removed
    assert await registered.is_in()


async def test_setup_ends_after_five_minutes_or_with_the_answer(holder: Holder) -> None:
    options = await holder.creation_options()
    made = holder.device.create(options)
    token = re.findall(
        r'name="form_token" value="([^"]*)"',
        (await holder.visitor.open("/account/passkeys/new")).text,
    )[0]
    fields = {"form_token": token, "name": "Phone", "passkey": made}
    holder.later(minutes=5)

    late = await holder.visitor.client.post("/account/passkeys", data=fields)
    told = await holder.notice()
    page = await holder.visitor.open("/account/passkeys/new")

    assert (late.status_code, page.status_code) == (303, 404)
    assert told == "This took too long, or was sent twice. Try again."
    assert "Start it on the page of your account" in page.text


async def test_limit_of_passkeys_is_shown_and_kept(registered: Holder, database: Database) -> None:
    options = await registered.creation_options()
    async with database.transaction() as session:
        (user,) = await list_users(session)
        for number in range(MOST_PASSKEYS - 1):
            made, now = new_passkey(f"cred-{number}"), await database.now(session)
            await passkeys.add_passkey(session, user.user_id, made, name="Key", now=now)
    other = Authenticator(PUBLIC_URL)

    await registered.send(
        "/account/passkeys", "/account", name="one more", passkey=other.create(options)
    )
    page = (await registered.visitor.open("/account")).text

    assert "You have 20 passkeys, which is the limit: remove one first." in page
    assert "/account/passkeys/begin" not in page


async def test_passkey_of_another_host_is_shown_and_never_asked_for(
    registered: Holder, parts: ConsoleDependencies
) -> None:
    """The public URL has changed. The second factor is still needed: a recovery code gives it."""
    await registered.leave()
    async with visiting(replace(parts, public_url="http://other.localhost")) as visitor:
        there = Holder(visitor, parts, registered.device)
        await there.give_password()
        page = (await visitor.open("/login/code")).text

    assert "Your passkeys do not work at this address." in page
    assert "data-passkey" not in page


@pytest.mark.parametrize("url", ["http://makegood.example", "https://192.0.2.1:8000"])
async def test_installation_without_a_relying_party_says_what_is_missing(
    member: Visitor, parts: ConsoleDependencies, url: str
) -> None:
    cookies = {cookie.name: cookie.value or "" for cookie in member.client.cookies.jar}
    session = next(value for name, value in cookies.items() if name.endswith("session"))
    prefix = "__Host-" if url.startswith("https") else ""
    async with visiting(replace(parts, public_url=url)) as visitor:
        sign_in = (await visitor.open("/login")).text
        holder = Holder(visitor, parts, Authenticator(url))
        prompts = [await holder.ask_options("/login/passkey/options")]
        host = visitor.client.base_url.host
        visitor.client.cookies.set(f"{prefix}makegood_session", session, domain=host, path="/")
        page = (await visitor.open("/account")).text
        prompts.append(await holder.ask_options("/account/proof/options", page="/account"))
        await send(visitor, "/account/passkeys/begin")
        told = await holder.notice()

    assert "passkey" not in sign_in
    assert f"is {url}: an administrator can change it with MAKEGOOD_PUBLIC_URL" in page
    assert "/account/passkeys/begin" not in page
    assert [answer.status_code for answer in prompts] == [422, 422]
    assert {problem_of(answer) for answer in prompts} == {told}
    assert told.startswith("Passkeys need a public URL with https and a host name.")


async def test_every_step_is_in_the_audit_log(registered: Holder) -> None:
    page = (await registered.visitor.open("/account")).text
    (path,) = re.findall(r'action="(/account/passkeys/psk_\w+)/rename"', page)
    await registered.visitor.post(f"{path}/rename", page="/account", name="Mine")
    await registered.leave()
    await registered.sign_in()
    await registered.leave()
    await registered.give_password()
    await registered.confirm()
    await registered.visitor.post(f"{path}/remove", page="/account")

    entries = await log(registered.parts)

    assert [(entry["action"], entry["details"]) for entry in entries[1:]] == [
        ("passkey_added", {"passkey": "Phone"}),
        ("passkey_renamed", {"passkey": "Mine"}),
        ("signed_out", {}),
        ("signed_in", {"by": "passkey", "passkey": "Mine"}),
        ("signed_out", {}),
        ("signed_in", {"by": "passkey", "passkey": "Mine", "after": "password"}),
        ("passkey_removed", {"passkey": "Mine"}),
    ]
    assert {entry["actor"] for entry in entries} == {entries[0]["subject_id"]}
