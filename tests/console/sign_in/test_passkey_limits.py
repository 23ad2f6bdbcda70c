"""Attempts with passkeys are rate limited, and every form has its token."""

from dataclasses import replace

import pytest

from api.console.composition import ConsoleDependencies
from domain.projects import CreatedProject
from domain.security.login_backoff import ADDRESS, CODE
from tests.console.conftest import Visitor
from tests.console.pages.test_audit import log
from tests.console.passkey_answers import proof
from tests.console.passkeys import PUBLIC_URL, Holder, problem_of
from tests.support.passkeys import Authenticator

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def parts(parts: ConsoleDependencies) -> ConsoleDependencies:
    return replace(parts, public_url=PUBLIC_URL)


@pytest.fixture
async def operator(signed_in_by_form: Visitor) -> Visitor:
    """The sign-in has its entry in the audit log."""
    return signed_in_by_form


@pytest.fixture
async def holder(member: Visitor, parts: ConsoleDependencies) -> Holder:
    """A user with a passkey who is signed in."""
    holder = Holder(member, parts, Authenticator(PUBLIC_URL))
    assert (await holder.add()).status_code == 303
    await holder.visitor.open("/account")
    return holder


@pytest.fixture
async def gone(holder: Holder) -> Holder:
    """The same, signed out."""
    await holder.leave()
    return holder


async def test_prompts_before_sign_in_are_rate_limited(gone: Holder) -> None:
    """Each stores a challenge. Those who cancel it keep their attempts to sign in."""
    asked = [await gone.ask_options("/login/passkey/options") for _ in range(ADDRESS.free + 1)]

    assert [answer.status_code for answer in asked] == [200] * ADDRESS.free + [429]
    assert int(asked[-1].headers["Retry-After"]) == 2
    assert (await gone.give_password()).status_code == 303


async def test_wrong_passkeys_are_rate_limited_like_passwords(gone: Holder) -> None:
    answers = [await gone.sign_in("{}") for _ in range(ADDRESS.free + 1)]
    entries = await log(gone.parts)

    assert [answer.status_code for answer in answers] == [422] * ADDRESS.free + [429]
    failed = [entry for entry in entries if entry["action"] == "sign_in_failed"]
    assert len(failed) == ADDRESS.free
    assert (entries[-1]["action"], entries[-1]["details"]["by"]) == ("tries_refused", "passkey")


async def test_wrong_passkeys_as_second_factor_and_as_proof_share_the_limit_of_codes(
    gone: Holder, project: CreatedProject
) -> None:
    await gone.give_password()
    first = [(await gone.confirm("{}")).status_code for _ in range(3)]
    await gone.sign_in()
    gone.later(minutes=11)

    then = [(await proof(gone, project, "{}")).status_code for _ in range(CODE.free - 2)]

    assert (first, then) == ([422] * 3, [422] * (CODE.free - 3) + [429])


async def test_prompt_of_the_second_factor_needs_the_first(gone: Holder) -> None:
    refused = await gone.ask_options("/login/code/options")

    assert (refused.status_code, problem_of(refused)) == (
        422,
        "The sign-in took too long. Start again.",
    )


@pytest.mark.parametrize(
    "path",
    [
        "/login/passkey/options",
        "/login/passkey",
        "/login/code/options",
        "/account/proof/options",
        "/account/passkeys",
    ],
)
async def test_form_without_its_token_is_rejected(holder: Holder, path: str) -> None:
    answer = await holder.visitor.client.post(path, data={"passkey": "{}"})

    assert answer.status_code == 403
