"""Answers of passkeys that are refused: malformed, foreign, repeated, late, copied; and too many.

Each is a 4xx with a clear text, signs nobody in, and proves nothing.
"""

import json
from dataclasses import replace

import pytest

from api.console.composition import ConsoleDependencies
from api.console.sign_in.passkeys import EXPIRED, MAY_BE_COPIED, UNKNOWN
from api.console.sign_in.relying_party import relying_party
from api.console.sign_in.webauthn_verifier import (
    LONGEST_ANSWER,
    MALFORMED,
    NEEDS_SCRIPT,
    NOT_VERIFIED,
    parse_answer,
    verify_creation,
)
from domain.projects import CreatedProject
from store.people import passkeys, users
from store.people.users import list_users
from tests.console.conftest import Visitor
from tests.console.pages.test_audit import log
from tests.console.passkey_answers import Change, client, proof, put, take
from tests.console.passkeys import PUBLIC_URL, Holder, problem_of
from tests.support.passkeys import USER_PRESENT, Authenticator, to_text

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


NOT_JSON = ("[", "null", "3", '"text"', "[]", "{}", '{"response": 3}', "\ud800", "[" * 9_000)
MALFORMED_PARTS = {
    "no id": take("id"),
    "an id that is a number": put("id", 7),
    "an id that is empty": put("id", ""),
    "an id with a NUL": put("id", "a\0b"),
    "an id that is too long": put("id", "a" * 2_000),
    "no response": take("response"),
    "a response that is a list": put("response", []),
    "no client data": take("response/clientDataJSON"),
    "client data that is no base64": put("response/clientDataJSON", "%%%"),
    "client data that is no JSON": put("response/clientDataJSON", to_text(b"{")),
    "client data that is a list": put("response/clientDataJSON", to_text(b"[]")),
    "client data with bytes of no text": put("response/clientDataJSON", to_text(b'{"\xff":1}')),
    "no challenge": client(challenge=None),
    "a challenge that is a list": client(challenge=[]),
    "a challenge with a NUL": client(challenge="a\0"),
    "a page of another site around": client(crossOrigin=True),
    "a user handle that is a number": put("response/userHandle", 7),
    "a user handle of no text": put("response/userHandle", to_text(b"\xff")),
}
# The challenge is right, and so it is used up.
UNVERIFIED_PARTS = {
    "no type": take("type"),
    "another type": put("type", "password"),
    "another raw id": put("rawId", "AAAA"),
    "a raw id that is a list": put("rawId", []),
    "no signature": take("response/signature"),
    "an empty signature": put("response/signature", ""),
    "a signature of another key": put("response/signature", to_text(b"\x30\x06" * 4)),
    "no authenticator data": take("response/authenticatorData"),
    "authenticator data that is short": put("response/authenticatorData", to_text(b"short")),
    "authenticator data that is no CBOR": put(
        "response/authenticatorData", to_text(bytes(32) + b"\xc5" + bytes(24) + b"\xff" * 9)
    ),
    "another origin": client(origin="https://evil.example"),
    "an origin that is a list": client(origin=[]),
    "another ceremony": client(type="webauthn.create"),
    "client data that was changed": client(topOrigin="https://evil.example"),
    "an attachment that is unknown": put("authenticatorAttachment", "glued"),
}


@pytest.mark.parametrize("text", ["", *NOT_JSON, "x" * (LONGEST_ANSWER + 1)], ids=repr)
async def test_text_that_is_no_answer_is_refused(gone: Holder, text: str) -> None:
    form = {"passkey": text.encode("utf-8", errors="surrogatepass")}
    token = (await gone.ask_options("/login/passkey/options")).request.content.decode()
    form_token = token.partition("form_token=")[2]

    answer = await gone.visitor.client.post(
        "/login/passkey", data={"form_token": form_token, **form}
    )

    assert answer.status_code == 422
    assert problem_of(answer) == (MALFORMED if text else NEEDS_SCRIPT)
    assert not await gone.is_in()


@pytest.mark.parametrize("change", MALFORMED_PARTS.values(), ids=MALFORMED_PARTS)
async def test_answer_with_a_malformed_part_is_refused(gone: Holder, change: Change) -> None:
    whole = json.loads(gone.device.use(await gone.options("/login/passkey/options")))
    change(whole)

    answer = await gone.sign_in(json.dumps(whole))

    assert (answer.status_code, problem_of(answer)) == (422, MALFORMED)
    assert not await gone.is_in()


@pytest.mark.parametrize("change", UNVERIFIED_PARTS.values(), ids=UNVERIFIED_PARTS)
async def test_answer_that_is_not_what_was_signed_is_refused(gone: Holder, change: Change) -> None:
    right = gone.device.use(await gone.options("/login/passkey/options"))
    whole = json.loads(right)
    change(whole)

    answer = await gone.sign_in(json.dumps(whole))
    repeated = await gone.sign_in(right)

    assert (answer.status_code, problem_of(answer)) == (422, NOT_VERIFIED)
    # Its challenge is used up by the wrong answer too.
    assert (repeated.status_code, problem_of(repeated)) == (422, EXPIRED)
    assert not await gone.is_in()


async def test_user_whom_the_authenticator_did_not_verify_is_refused(gone: Holder) -> None:
    gone.device.flags = USER_PRESENT

    answer = await gone.sign_in()

    assert (answer.status_code, problem_of(answer)) == (422, NOT_VERIFIED)


async def test_answer_for_another_host_is_refused(gone: Holder) -> None:
    options = await gone.options("/login/passkey/options")

    answer = await gone.sign_in(gone.device.use({**options, "rpId": "evil.example"}))

    assert (answer.status_code, problem_of(answer)) == (422, NOT_VERIFIED)


async def test_answer_is_accepted_once(gone: Holder) -> None:
    answer = gone.device.use(await gone.options("/login/passkey/options"))

    first = await gone.sign_in(answer)
    await gone.leave()
    second = await gone.sign_in(answer)

    assert (first.status_code, second.status_code) == (303, 422)
    assert problem_of(second) == EXPIRED
    assert not await gone.is_in()


async def test_answer_after_five_minutes_is_refused(gone: Holder) -> None:
    answer = gone.device.use(await gone.options("/login/passkey/options"))
    gone.later(minutes=5)

    refused = await gone.sign_in(answer)

    assert (refused.status_code, problem_of(refused)) == (422, EXPIRED)


async def test_answer_to_the_challenge_of_another_browser_is_refused(gone: Holder) -> None:
    answer = gone.device.use(await gone.options("/login/passkey/options"))
    gone.visitor.client.cookies.clear()

    refused = await gone.sign_in(answer)

    assert (refused.status_code, problem_of(refused)) == (422, EXPIRED)


async def test_challenge_of_a_sign_in_is_no_second_factor(gone: Holder) -> None:
    await gone.give_password()
    answer = gone.device.use(await gone.options("/login/passkey/options"))

    refused = await gone.confirm(answer)

    assert (refused.status_code, problem_of(refused)) == (422, EXPIRED)


async def test_passkey_that_is_unknown_or_was_removed_is_refused(holder: Holder) -> None:
    stranger = Authenticator(PUBLIC_URL, credential_id=b"nobody's", user_handle=b"usr_none")
    async with holder.parts.database.transaction() as session:
        (user,) = await list_users(session)
        await passkeys.remove_passkeys(session, user.user_id)
    await holder.leave()

    for device in (stranger, holder.device):
        answer = device.use(await holder.options("/login/passkey/options"))
        refused = await holder.sign_in(answer)

        assert (refused.status_code, problem_of(refused)) == (422, UNKNOWN)


@pytest.mark.parametrize("handle", [b"", b"usr_eve"])
async def test_passkey_with_the_handle_of_another_user_is_refused(
    gone: Holder, handle: bytes
) -> None:
    gone.device.user_handle = handle

    refused = await gone.sign_in()

    assert (refused.status_code, problem_of(refused)) == (422, UNKNOWN)


async def test_passkey_of_another_user_is_no_second_factor(gone: Holder) -> None:
    """Eve knows Ada's password, and has a passkey of her own."""
    other = Authenticator(PUBLIC_URL)
    await with_passkey_of_eve(gone, other)
    await gone.give_password()

    options = await gone.options("/login/code/options", page="/login/code")
    refused = await gone.confirm(other.use(options))

    assert (refused.status_code, problem_of(refused)) == (422, UNKNOWN)
    assert not await gone.is_in()


async def with_passkey_of_eve(holder: Holder, device: Authenticator) -> None:
    """Register the authenticator's passkey for another user, without a browser."""
    party = relying_party(PUBLIC_URL)
    assert party is not None
    database = holder.parts.database
    async with database.transaction() as session:
        now = await database.now(session)
        eve = await users.create_user(session, email="eve@shop.example", now=now)
        user = {"id": to_text(eve.user_id.encode())}
        options = {"user": user, "rp": {"id": party.id}, "challenge": "AAAA"}
        made = verify_creation(party, parse_answer(device.create(options)))
        await passkeys.add_passkey(session, eve.user_id, made, name="Eve's", now=now)


@pytest.mark.parametrize("counter", [0, 1])
async def test_counter_that_does_not_grow_is_refused_and_recorded(
    gone: Holder, counter: int
) -> None:
    """A copy of the passkey has been used in the meantime: its counter is ahead."""
    await gone.sign_in()
    await gone.sign_in()
    await gone.leave()
    gone.device.counter = counter

    refused = await gone.sign_in()
    entries = await log(gone.parts)

    assert (refused.status_code, problem_of(refused)) == (422, MAY_BE_COPIED)
    assert not await gone.is_in()
    counted = {"passkey": "Phone", "stored": 2, "given": counter + 1}
    assert [(entry["action"], entry["details"]) for entry in entries[-2:]] == [
        ("passkey_counter_refused", counted),
        ("sign_in_failed", {"by": "passkey"}),
    ]
    assert {entry["actor"] for entry in entries[-2:]} == {"visitor"}
    assert {entry["subject_id"] for entry in entries[-2:]} == {entries[0]["subject_id"]}


async def test_counter_that_does_not_grow_is_no_second_factor_and_no_proof(
    gone: Holder, project: CreatedProject
) -> None:
    gone.device.counter = 5
    await gone.sign_in()
    await gone.leave()
    await gone.give_password()
    gone.device.counter = 1
    as_factor = await gone.confirm()
    gone.device.counter = 9
    await gone.sign_in()
    gone.later(minutes=11)
    gone.device.counter = 2

    as_proof = await proof(gone, project)

    assert (as_factor.status_code, problem_of(as_factor)) == (422, MAY_BE_COPIED)
    assert (as_proof.status_code, problem_of(as_proof)) == (422, MAY_BE_COPIED)
    acts = [entry["action"] for entry in await log(gone.parts)]
    assert acts.count("passkey_counter_refused") == 2
    assert acts[-1] == "proof_failed"


async def test_authenticator_without_a_counter_is_accepted(
    member: Visitor, parts: ConsoleDependencies
) -> None:
    holder = Holder(member, parts, Authenticator(PUBLIC_URL, counter=None))
    await holder.add()
    for _ in range(2):
        await holder.leave()
        await holder.sign_in()

        assert await holder.is_in()
