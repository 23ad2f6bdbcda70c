"""`makegood signature`: creates and verifies the headers of repair callbacks, offline."""

import hmac
import os
import re
import secrets as randomness
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cli.options import JsonFlag
from cli.output import CommandFailed, ExitCode, print_json, print_record
from domain.security.signing import (
    NEXT_SIGNATURE_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    MalformedSecret,
    SigningSecrets,
    callback_headers,
    given_secrets,
    sign,
    sign_standard,
)

app = typer.Typer(help="Signatures of repair callbacks.", no_args_is_help=True)
WINDOW_SECONDS = 300
_VARIABLE = "MAKEGOOD_SIGNING_SECRET"
STANDARD_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")

_SIGNING_HEADERS = tuple(
    name.lower()
    for name in (TIMESTAMP_HEADER, NONCE_HEADER, SIGNATURE_HEADER, NEXT_SIGNATURE_HEADER)
)

SecretOption = Annotated[
    list[str],
    typer.Option(
        "--secret",
        envvar=_VARIABLE,
        show_envvar=True,
        help=(
            "The signing secret; during a rotation also the next one, in a second option or after a"
            " comma."
        ),
    ),
]
BodyOption = Annotated[
    Path,
    typer.Option("--body", help="A file with the raw body, byte for byte; - reads standard input."),
]


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict of one signature scheme."""

    scheme: str
    is_valid: bool
    reason: str


@app.command("make")
def make(
    context: typer.Context,
    secret: SecretOption,
    body: BodyOption,
    replay_id: Annotated[
        str, typer.Option(help="The repair's id, rpl_…; also sent as webhook-id.")
    ],
    attempt: Annotated[int, typer.Option(min=1, help="The number of the attempt.")] = 1,
    timestamp: Annotated[int | None, typer.Option(help="Unix seconds. Default: now.")] = None,
    nonce: Annotated[
        str | None, typer.Option(help="32 hexadecimal characters. Default: a new one.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print the headers that sign a callback with this body."""
    secrets = _read_secrets(context, secret)
    if len(secrets) > 2:
        raise CommandFailed("a callback is signed with at most two secrets", ExitCode.USAGE)
    try:
        headers = callback_headers(
            secrets=SigningSecrets(*secrets),
            replay_id=replay_id,
            attempt_number=attempt,
            timestamp=int(time.time()) if timestamp is None else timestamp,
            nonce=nonce or randomness.token_hex(16),
            body=_read(body),
        )
    except ValueError as error:
        raise CommandFailed(str(error), ExitCode.USAGE) from None
    if as_json:
        return print_json(dict(headers))
    for name, value in headers:
        typer.echo(f"{name}: {value}")


@app.command("verify")
def verify(
    context: typer.Context,
    secret: SecretOption,
    body: BodyOption,
    headers: Annotated[
        Path | None,
        typer.Option("--headers", help="A file with the request's headers, one per line."),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", help="One header, `Name: value`; can be repeated."),
    ] = None,
    any_age: Annotated[
        bool, typer.Option("--any-age", help="Accept a timestamp that is more than 5 minutes off.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Verify a callback's signatures. Exits 0 when every scheme in the headers is valid, else 1."""
    lines = (
        [] if headers is None else _read(headers).decode(errors="replace").splitlines()
    ) + list(header or ())
    pairs = [_parse_header(line) for line in lines if ":" in line]
    found = dict(pairs)
    for name in (*_SIGNING_HEADERS, *STANDARD_HEADERS):
        if sum(other == name for other, _ in pairs) > 1:
            raise CommandFailed(
                f"the headers contain {name} more than once, which no receiver accepts",
                ExitCode.FAILED,
            )
    now = None if any_age else time.time()
    findings = check(found, _read(body), secrets=_read_secrets(context, secret), now=now)
    if not findings:
        raise CommandFailed(
            f"the headers contain no signature: expected {SIGNATURE_HEADER} or webhook-signature",
            ExitCode.USAGE,
        )
    is_valid = all(finding.is_valid for finding in findings)
    print_record(
        {"valid": is_valid, **{finding.scheme: finding.reason for finding in findings}},
        as_json=as_json,
    )
    raise typer.Exit(ExitCode.OK if is_valid else ExitCode.FAILED)


def check(
    headers: Mapping[str, str], body: bytes, *, secrets: list[str], now: float | None
) -> list[Finding]:
    """A finding for each scheme in `headers` (lowercase names). `now` is in unix seconds; None
    accepts any age.
    """
    findings = []
    if SIGNATURE_HEADER.lower() in headers:
        findings.append(
            Finding("x-sendpromptly", *_verdict(_check_own(headers, body, secrets, now)))
        )
    if "webhook-signature" in headers:
        findings.append(
            Finding("standard-webhooks", *_verdict(_check_standard(headers, body, secrets, now)))
        )
    return findings


def _check_own(
    headers: Mapping[str, str], body: bytes, secrets: list[str], now: float | None
) -> str | None:
    """Why the X-SendPromptly signature is invalid; None when it is valid."""
    timestamp, nonce = (
        headers.get(TIMESTAMP_HEADER.lower(), ""),
        headers.get(NONCE_HEADER.lower(), ""),
    )
    if not _is_number(timestamp) or not re.fullmatch(r"[0-9a-f]{32}", nonce):
        return f"{TIMESTAMP_HEADER} or {NONCE_HEADER} is missing or malformed"
    offered = [headers.get(name.lower(), "") for name in (SIGNATURE_HEADER, NEXT_SIGNATURE_HEADER)]
    expected = [
        sign(secret, timestamp=int(timestamp), nonce=nonce, body=body) for secret in secrets
    ]
    return _wrong_signature(expected, offered) or _wrong_age(timestamp, now)


def _check_standard(
    headers: Mapping[str, str], body: bytes, secrets: list[str], now: float | None
) -> str | None:
    message_id, timestamp, offered = (headers.get(name, "") for name in STANDARD_HEADERS)
    if not message_id or not _is_number(timestamp):
        return "webhook-id or webhook-timestamp is missing or malformed"
    expected = [
        sign_standard(secret, message_id=message_id, timestamp=int(timestamp), body=body)
        for secret in secrets
    ]
    return _wrong_signature(expected, offered.split(" ")) or _wrong_age(timestamp, now)


def _wrong_signature(expected: list[str], offered: list[str]) -> str | None:
    matches = [
        hmac.compare_digest(one.encode(), other.encode()) for one in expected for other in offered
    ]
    return None if any(matches) else "no signature matches: the secret or the raw body differs"


def _wrong_age(timestamp: str, now: float | None) -> str | None:
    seconds = 0.0 if now is None else now - int(timestamp)
    if abs(seconds) <= WINDOW_SECONDS:
        return None
    return f"its timestamp is {seconds:.0f} s old ({WINDOW_SECONDS} at most)"


def _verdict(problem: str | None) -> tuple[bool, str]:
    return problem is None, problem or "valid"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12


def _read_secrets(context: typer.Context, options: list[str]) -> list[str]:
    """The secrets. Those of the variable are read from the environment: Click splits them at
    spaces.
    """
    source = context.get_parameter_source("secret")
    is_variable = source is not None and source.name == "ENVIRONMENT"
    try:
        return given_secrets([os.environ[_VARIABLE]] if is_variable else options)
    except MalformedSecret as error:
        raise CommandFailed(str(error), ExitCode.USAGE) from None


def _parse_header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def _read(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read ({error.strerror})", ExitCode.USAGE) from None
