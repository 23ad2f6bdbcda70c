"""Options for the browser, and the verification of what an authenticator answers (WebAuthn level 3,
7.1 and 7.2), by the package `webauthn`.

Answers come from outside in any shape. The package raises errors of its own for most malformed
ones, and those of the language for the rest: `ANSWER_ERRORS`. Each becomes `PasskeyRefused`.

Attestation, the proof of an authenticator's model, is not asked for and not looked at. So no
certificate from outside is parsed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from webauthn import (
    base64url_to_bytes,
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import (
    bytes_to_base64url,
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    encode_cbor,
    parse_cbor,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from api.console.sign_in.relying_party import RelyingParty
from domain.ids import UserId
from domain.security.passkeys import PROMPT_MILLISECONDS, NewPasskey, Passkey

PARTY_NAME = "Makegood"
LONGEST_ANSWER = 16_384
# A credential id has at most 1,023 bytes (WebAuthn level 3, 5.1.3).
_BASE64URL = re.compile(r"[A-Za-z0-9_-]{1,1364}")
LONGEST_PUBLIC_KEY = 4_096
ANSWER_ERRORS = (
    *(WebAuthnException, InvalidSignature, UnsupportedAlgorithm),
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
)
NEEDS_SCRIPT = (
    "Nothing came from a passkey. Passkeys need JavaScript, and a browser that supports them."
)
MALFORMED = "The answer of the browser could not be read. Try again."
NOT_VERIFIED = "The passkey could not be verified. Try again."
_TRANSPORTS = frozenset(one.value for one in AuthenticatorTransport)


class PasskeyRefused(Exception):
    """The answer is not accepted. `text` is for the person, `reason` for the log.

    `user_id` is whose passkey it is; None while that is not known.
    """

    def __init__(self, text: str, reason: str, *, user_id: UserId | None = None) -> None:
        super().__init__(reason)
        self.text, self.reason, self.user_id = text, reason, user_id


@dataclass(frozen=True, slots=True)
class Answer:
    """What the browser sent, parsed as far as the challenge. Nothing in it is verified.

    `user_handle` is empty if the authenticator gave none. `fields` are of any JSON type.
    """

    challenge: str
    credential_id: str
    user_handle: str
    fields: dict[str, Any]


def creation_options(
    party: RelyingParty,
    *,
    user_id: UserId,
    user_name: str,
    challenge: str,
    known: Sequence[Passkey],
) -> str:
    """The options of `navigator.credentials.create()`, as JSON.

    The passkey is discoverable: it signs in without an e-mail address. `known` are the passkeys
    that the user has already.
    """
    options = generate_registration_options(
        rp_id=party.id,
        rp_name=PARTY_NAME,
        user_id=user_id.encode(),
        user_name=user_name,
        challenge=base64url_to_bytes(challenge),
        timeout=PROMPT_MILLISECONDS,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=_descriptors(party, known),
    )
    return options_to_json(options)


def request_options(party: RelyingParty, *, challenge: str, allowed: Sequence[Passkey]) -> str:
    """The options of `navigator.credentials.get()`, as JSON. `allowed` is empty at sign-in: the
    browser offers those that it knows.
    """
    options = generate_authentication_options(
        rp_id=party.id,
        challenge=base64url_to_bytes(challenge),
        timeout=PROMPT_MILLISECONDS,
        allow_credentials=_descriptors(party, allowed),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def parse_answer(text: str) -> Answer:
    """Parse an answer. Raises: PasskeyRefused."""
    if not text:
        raise PasskeyRefused(NEEDS_SCRIPT, "no answer")
    if len(text) > LONGEST_ANSWER:
        raise PasskeyRefused(MALFORMED, "the answer is too long")
    try:
        fields = orjson.loads(text)
        response = fields["response"]
        client = orjson.loads(_decoded(response["clientDataJSON"]))
        answer = Answer(
            challenge=_base64url(client["challenge"]),
            credential_id=_base64url(fields["id"]),
            user_handle=_decoded(response.get("userHandle") or "").decode(),
            fields=fields,
        )
        is_embedded = client.get("crossOrigin") is True
    except ANSWER_ERRORS as error:
        raise PasskeyRefused(MALFORMED, f"malformed: {type(error).__name__}") from error
    if is_embedded:
        raise PasskeyRefused(MALFORMED, "made in a page of another site")
    return answer


def verify_creation(party: RelyingParty, answer: Answer) -> NewPasskey:
    """The passkey that an authenticator made. Its challenge was used up before.

    Raises: PasskeyRefused.
    """
    try:
        made = verify_registration_response(
            credential=_without_attestation(answer.fields),
            expected_challenge=base64url_to_bytes(answer.challenge),
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=True,
        )
        # A key that cannot be loaded could never sign in.
        decoded_public_key_to_cryptography(decode_credential_public_key(made.credential_public_key))
        given = answer.fields["response"].get("transports") or ()
        transports = tuple(sorted(_TRANSPORTS.intersection(given)))
    except ANSWER_ERRORS as error:
        raise PasskeyRefused(NOT_VERIFIED, f"{type(error).__name__}: {error}") from error
    if len(made.credential_public_key) > LONGEST_PUBLIC_KEY:
        raise PasskeyRefused(NOT_VERIFIED, "the public key is too long")
    return NewPasskey(
        credential_id=bytes_to_base64url(made.credential_id),
        public_key=bytes_to_base64url(made.credential_public_key),
        sign_count=made.sign_count,
        rp_id=party.id,
        transports=transports,
    )


def verify_use(party: RelyingParty, answer: Answer, passkey: Passkey) -> int:
    """The authenticator's counter, after a correct signature over the challenge. The caller judges
    the counter (`store.people.passkeys.record_use`).

    Raises: PasskeyRefused.
    """
    try:
        verified = verify_authentication_response(
            credential=answer.fields,
            expected_challenge=base64url_to_bytes(answer.challenge),
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=base64url_to_bytes(passkey.public_key),
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except ANSWER_ERRORS as error:
        reason = f"{type(error).__name__}: {error}"
        raise PasskeyRefused(NOT_VERIFIED, reason, user_id=passkey.user_id) from error
    return verified.new_sign_count


def _descriptors(
    party: RelyingParty, passkeys: Sequence[Passkey]
) -> list[PublicKeyCredentialDescriptor]:
    """Passkeys of this host name, as options name them. Others would be unknown to the browser."""
    return [
        PublicKeyCredentialDescriptor(
            id=base64url_to_bytes(one.credential_id),
            transports=[AuthenticatorTransport(name) for name in one.transports],
        )
        for one in passkeys
        if one.rp_id == party.id
    ]


# Any: JSON values.
def _without_attestation(fields: dict[str, Any]) -> dict[str, Any]:
    """The answer with the attestation `none`, which browsers send unless they are asked."""
    attested = parse_cbor(base64url_to_bytes(_string(fields["response"]["attestationObject"])))
    bare = {"fmt": "none", "attStmt": {}, "authData": attested["authData"]}
    response = {**fields["response"], "attestationObject": bytes_to_base64url(encode_cbor(bare))}
    return {**fields, "response": response}


def _decoded(text: object) -> bytes:
    return base64url_to_bytes(_string(text))


def _base64url(value: object) -> str:
    text = _string(value)
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url, or too long")
    return text


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value
