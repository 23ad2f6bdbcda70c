"""New passkeys that are refused, because their answer or their key is none. None is stored."""

import json
from dataclasses import replace
from typing import Any

import cbor2
import pytest

from api.console.composition import ConsoleDependencies
from api.console.sign_in.webauthn_verifier import NOT_VERIFIED
from tests.console.conftest import Visitor
from tests.console.passkey_answers import Change, client, put, take
from tests.console.passkeys import PUBLIC_URL, Holder
from tests.support.passkeys import Authenticator, to_text

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def parts(parts: ConsoleDependencies) -> ConsoleDependencies:
    return replace(parts, public_url=PUBLIC_URL)


MADE_WRONG: dict[str, Change] = {
    "no attestation object": take("response/attestationObject"),
    "an attestation object that is a list": put("response/attestationObject", []),
    "an attestation object that is no CBOR": put("response/attestationObject", "_w"),
    "an attestation object that is a number": put(
        "response/attestationObject", to_text(cbor2.dumps(7))
    ),
    "no authenticator data": put("response/attestationObject", to_text(cbor2.dumps({"fmt": "x"}))),
    "authenticator data that is text": put(
        "response/attestationObject", to_text(cbor2.dumps({"authData": "text"}))
    ),
    "authenticator data without a key": put(
        "response/attestationObject", to_text(cbor2.dumps({"authData": bytes(37)}))
    ),
    "another ceremony": client(type="webauthn.get"),
    "another origin": client(origin="https://evil.example"),
    "another id": put("id", "AAAA"),
    "transports that are no list": put("response/transports", 7),
    "transports of lists": put("response/transports", [[]]),
}


@pytest.mark.parametrize("change", MADE_WRONG.values(), ids=MADE_WRONG)
async def test_new_passkey_that_cannot_be_verified_is_not_stored(
    member: Visitor, parts: ConsoleDependencies, change: Change
) -> None:
    holder = Holder(member, parts, Authenticator(PUBLIC_URL))
    whole = json.loads(holder.device.create(await holder.creation_options()))
    change(whole)

    answer = await holder.send(
        "/account/passkeys", "/account/passkeys/new", name="Phone", passkey=json.dumps(whole)
    )

    assert (answer.status_code, await holder.notice()) == (303, NOT_VERIFIED)
    assert "You have no passkeys." in (await holder.visitor.open("/account")).text


@pytest.mark.parametrize(
    "key",
    [
        {},
        {1: 2},
        {1: 2, 3: -7, -1: 1, -2: b"", -3: b""},
        {1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)},
        {1: 2, 3: -7, -1: 1, -2: "text", -3: 7},
        {1: 3, 3: -257, -1: b"\x01", -2: b"\x00"},
        {1: [], 3: {}},
        {1: 2, 3: -65535, -1: 1, -2: bytes(32), -3: bytes(32)},
    ],
    ids=repr,
)
async def test_new_passkey_with_a_key_that_is_none_is_not_stored(
    member: Visitor, parts: ConsoleDependencies, key: dict[Any, Any]
) -> None:
    holder = Holder(member, parts, Authenticator(PUBLIC_URL))
    options = await holder.creation_options()
    holder.device.public_key = cbor2.dumps(key)

    answer = await holder.send(
        "/account/passkeys",
        "/account/passkeys/new",
        name="Phone",
        passkey=holder.device.create(options),
    )

    assert (answer.status_code, await holder.notice()) == (303, NOT_VERIFIED)
