"""What is fuzzed: every parser of untrusted input, each as a function of bytes that
raises only when there is a bug.

A refusal that the parser documents is a right answer. What it accepts is checked against a second
opinion where there is one: another reader of the same format, or the value written out and read
again. Used by `python -m
tests.fuzz` and by the tests.
"""

import json
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import astuple
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import cbor2
import httpx
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.types import Message

from api.console.sign_in.cookies import ConsoleKeys
from api.console.sign_in.forms import FORM_TYPE, FormRejected, parse_form
from api.console.sign_in.relying_party import RelyingParty
from api.console.sign_in.return_path import safe_return_path
from api.console.sign_in.webauthn_verifier import (
    PasskeyRefused,
    parse_answer,
    verify_creation,
    verify_use,
)
from api.console.ui.filters import EVENT_TABS, read_address
from api.http.request_body import read_object
from api.http.request_headers import (
    bearer_token,
    check_accept,
    check_content_length,
    check_content_type,
    error_media_type,
    idempotency_key,
    read_request_head,
)
from api.ingest.schemas import WireInstant, parse_receipt, parse_result
from domain.errors import Refusal
from domain.ids import PasskeyId, ProjectId, UserId
from domain.names import OwnNames
from domain.projects import Project
from domain.results import LateResult
from domain.security.api_keys import looks_like_key
from domain.security.evidence import EvidenceBroken, canonical, read_evidence
from domain.security.passkeys import Passkey
from domain.values.timestamps import from_unix_ms, to_iso, to_unix_ms
from egress.policy import UnsafeUrl, check_url, parse_allowed_ranges
from egress.retry_after import read_retry_after
from egress.transport import parse_permitted_url
from operations.incidents import ResolveBody
from operations.inputs import ProjectPatch
from operations.validation import known_id, validated
from store.evidence.signatures import verify_evidence
from store.maintenance.mailbox import list_mails, read_mail
from store.receipts.lists.order import EVENT_LIST, INCIDENT_LIST, read_bounds
from tests.support.passkeys import to_text

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
INSTANT: TypeAdapter[datetime] = TypeAdapter(WireInstant)
KEYS = ConsoleKeys("the root secret of the fuzzer, long enough")
MAIL = "20261123T120000000000Z-00000000.eml"
PARTY = RelyingParty("makegood.localhost", "http://makegood.localhost")
# A public key in COSE form.
P256_KEY = bytes.fromhex(
    "a50102032620012158205d6dc252f1898d1fc7e7ab58ba52d5ec6fd1e77214b48f82f71c"
    "65a3848af84f225820058b662308a8375047c3dca170b1bbfa4598c31709a82af79fbec2ef03759aaf"
)
# The beginning of an authenticator's data, before the length of the credential's id.
ATTESTED = sha256(PARTY.id.encode()).digest() + b"\x45" + bytes(20)
PASSKEY = Passkey(
    *(PasskeyId("psk_1"), UserId("usr_1"), "Phone", "AAAA", to_text(P256_KEY), 0, PARTY.id),
    *((), NOW, None),
)
T = TypeVar("T")


def headers(data: bytes) -> None:
    """Header lines; each check sees every value."""
    pairs = [
        (name.lower(), value)
        for name, _, value in (line.partition(b":") for line in data.split(b"\n"))
    ]
    read = {value for value in astuple(read_request_head(pairs)) if value is not None}
    for value in {*read, *(value for _, value in pairs), data}:
        for check in (
            check_accept,
            check_content_length,
            partial(check_content_type, b"application/json"),
        ):
            _refusable(partial(check, value))
        _refusable(partial(check_content_type, value, None))
        assert error_media_type(value) in (b"application/json", b"application/problem+json")
        key = _refusable(partial(idempotency_key, value))
        assert key is None or (0 < len(key) <= 255 and key.isprintable() and _is_text(key))
        token = bearer_token(value)
        assert token is None or (token.isascii() and looks_like_key(token) in (True, False))


def body(data: bytes) -> None:
    """A request's JSON, as far as a receipt, a result, a reason and a project's changes."""
    content = _refusable(partial(read_object, data))
    if content is None:
        tolerated = _refusable(
            partial(read_object, data, tolerated=frozenset({"a", "payload", "error_message"}))
        )
        if tolerated is not None:
            for read_value in (parse_receipt, parse_result):
                _refusable(
                    partial(
                        read_value, tolerated, project=_project(livemode=True), request_id="req"
                    )
                )
        return
    expected = json.loads(data, object_pairs_hook=_once)
    assert content == expected, "another reader reads something else"
    assert _is_text(json.dumps(content, ensure_ascii=False))
    for livemode in (True, False):
        for read_value in (parse_receipt, parse_result):
            _refusable(
                partial(read_value, content, project=_project(livemode=livemode), request_id="req")
            )
    _refusable(partial(validated, ResolveBody, content))
    _refusable(partial(validated, ProjectPatch, content))


def instant(data: bytes) -> None:
    """An instant, which the wire and the store write back as the same."""
    try:
        at = INSTANT.validate_python(data.decode("utf-8", "surrogateescape"))
    except ValidationError:
        return
    assert at.utcoffset() is not None
    assert datetime.fromisoformat(to_iso(at)) == from_unix_ms(to_unix_ms(at)) <= at


def url(data: bytes) -> None:
    """A repair URL: what is let through names one host, and every reader finds the same."""
    text = data.decode("utf-8", "replace")
    _refusable(partial(parse_allowed_ranges, text), ValueError)
    for allow in ((), parse_allowed_ranges("10.0.0.0/8,fd00::/8")):
        judged = _refusable(partial(check_url, text, allow), UnsafeUrl)
        if judged is None:
            continue
        assert text.isascii()
        assert allow or (judged.scheme == "https" and judged.port in (443, 8443))
        read = urlsplit(text)
        host = (read.hostname or "").removesuffix(".")
        assert (
            host if judged.address is None else str(ip_address(host))
        ) == judged.host.removesuffix(".")
        assert (read.username, read.password, read.fragment) == (None, None, "")
        assert (read.port or {"https": 443, "http": 80}[read.scheme]) == judged.port
        called = _refusable(partial(parse_permitted_url, text, allow), UnsafeUrl)
        assert called is None or _host_of(httpx.URL(text)) == judged.host


def retry_after(data: bytes) -> None:
    """The header of a receiver, who may say anything."""
    seconds = read_retry_after(data.decode("latin-1"), now=NOW)
    assert seconds is None or seconds >= 0


def query(data: bytes) -> None:
    """The address of a list in the console: read, written, and read again it is the same."""
    address = read_address(
        "/events",
        dict(parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True)),
        tabs=EVENT_TABS,
    )
    again = read_address("/events", dict(parse_qsl(urlsplit(str(address)).query)), tabs=EVENT_TABS)
    assert "\0" not in "".join(address.chosen.values())
    assert (address.chosen, address.tab, address.created_after, address.created_before) == (
        again.chosen,
        again.tab,
        again.created_after,
        again.created_before,
    )
    for of in (EVENT_LIST, INCIDENT_LIST):
        _refusable(partial(read_bounds, of, address.cursor or "", after=None, before=None))


def form(data: bytes) -> None:
    """A form of the console; the first line is its media type, the plain one when it is empty."""
    media_type, _, content = data.partition(b"\n")

    async def receive() -> Message:
        return {"type": "http.request", "body": content}

    scope = {"type": "http", "headers": [(b"content-type", media_type or FORM_TYPE.encode())]}
    fields = _refusable(lambda: _at_once(parse_form(Request(scope, receive))), FormRejected)
    for value in (fields or {}).values():
        assert "\0" not in value
        assert _is_text(value)
    assert safe_return_path(fields or {}, prefix="", otherwise="/").startswith("/")


def secret_texts(data: bytes) -> None:
    """Cookies, form tokens and ids, which anybody can make up."""
    text = data.decode("latin-1")
    assert KEYS.unseal(text, session_token="session") is None
    assert not KEYS.is_form_token(text, session_token="session")
    assert known_id(text).isascii()


def mail(data: bytes) -> None:
    """A mail in the built-in mailbox, which any program on this machine may have sent."""
    with tempfile.TemporaryDirectory(prefix="makegood-fuzz-") as directory:
        (Path(directory) / MAIL).write_bytes(data)
        found = read_mail(Path(directory), MAIL)
        (listed,) = list_mails(Path(directory))
    assert found is not None
    assert all(
        _is_text(text)
        for text in (
            found.text or "",
            found.html or "",
            listed.subject,
            listed.sender,
            found.message_id,
        )
    )


def evidence(data: bytes) -> None:
    """A file of evidence. What is read is written again as the same bytes."""
    read = _refusable(partial(read_evidence, data), EvidenceBroken)
    if read is not None:
        assert canonical(json.loads(data)) + b"\n" == data
        verify_evidence(data, public_keys=())


def passkey(data: bytes) -> None:
    """What a browser sends of a passkey: the JSON, and the bytes of an authenticator in it."""
    _passkey_answer(data.decode("utf-8", "replace"))
    text = to_text(data)
    for parts in (
        {"clientDataJSON": text},
        {"clientDataJSON": client_data("create"), "attestationObject": text},
        {
            "clientDataJSON": client_data("get"),
            "authenticatorData": text,
            "signature": text,
        },
        {
            "clientDataJSON": client_data("create"),
            "attestationObject": to_text(cbor2.dumps({"authData": ATTESTED + data})),
        },
    ):
        whole = {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": parts}
        _passkey_answer(json.dumps(whole))


def client_data(act: str) -> str:
    client = {"type": f"webauthn.{act}", "challenge": "AAAA", "origin": PARTY.origin}
    return to_text(json.dumps(client).encode())


def _passkey_answer(text: str) -> None:
    """Only an answer that can be parsed is verified."""
    answer = _refusable(partial(parse_answer, text), PasskeyRefused)
    if answer is None:
        return
    assert (answer.challenge + answer.credential_id).isascii()
    made = _refusable(partial(verify_creation, PARTY, answer), PasskeyRefused)
    assert made is None or made.rp_id == PARTY.id
    # Nobody has the key: no answer is signed with it.
    assert _refusable(partial(verify_use, PARTY, answer, PASSKEY), PasskeyRefused) is None


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        headers,
        body,
        instant,
        url,
        retry_after,
        query,
        form,
        secret_texts,
        mail,
        evidence,
        passkey,
    )
}


def _refusable(call: Callable[[], T], refusals: type[Exception] = Refusal) -> T | None:
    """What the call returned; None when it refused in the way that it is documented to."""
    try:
        return call()
    except refusals:
        return None


def _host_of(url: httpx.URL) -> str:
    """The host that httpx will connect to, as the guard writes it."""
    host = url.raw_host.decode().removeprefix("[").removesuffix("]")
    return str(ip_address(host)) if ":" in host else host


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    assert len(dict(pairs)) == len(pairs), "a name is given twice"
    return dict(pairs)


def _is_text(text: str) -> bool:
    """Whether it can be written: no half of a surrogate pair is in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _project(*, livemode: bool) -> Project:
    return Project(
        id=ProjectId("prj_fuzz"),
        name="fuzz",
        livemode=livemode,
        repair_url=None,
        repair_url_gone=False,
        timeout_minutes=30.0,
        late_result=LateResult.RESOLVE,
        snapshots=True,
        alert_destinations=(),
        is_suspended=False,
        created_at=NOW,
        providers=OwnNames(("paddle",), ("lemon",)),
    )
