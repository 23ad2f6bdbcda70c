"""Sends a receipt or a result over real HTTP, as the merchant's app would, and turns the answer into an outcome.

Used by `receipt send` and `result send`; it reads no store and needs an API that runs.
"""

import json
import re
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cli.output import CommandFailed, ExitCode, exit_code_of, print_record
from cli.settings import read_settings
from domain.values.text import printable

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 15
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def send(
    path: str, fields: Mapping[str, object], *, url: str | None, api_key: str, idempotency_key: str | None, as_json: bool
) -> None:
    """POST the fields that are given, and print the answer.

    Raises: CommandFailed when it was refused, or when no answer came.
    """
    import httpx

    base_url = (url or read_settings().public_url_or_default).rstrip("/")
    key = idempotency_key or str(uuid.uuid4())
    # Before the HTTP library sees them: it would print a key that it cannot send.
    if not re.fullmatch("[!-~]+", api_key := api_key.strip()):
        raise CommandFailed("--key (MAKEGOOD_KEY) must be one line of printable ASCII", ExitCode.USAGE)
    if not key.isprintable():
        raise CommandFailed("--idempotency-key must be printable", ExitCode.USAGE)
    headers = {b"Authorization": f"Bearer {api_key}".encode(), b"Idempotency-Key": key.encode()}
    headers |= {b"Accept": b"application/json", b"Content-Type": b"application/json"}
    # Escaped: an argument that is not UTF-8 holds halves of surrogate pairs, which httpx itself cannot encode.
    try:
        body = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
    except RecursionError:
        raise CommandFailed("the payload is nested too deeply", ExitCode.USAGE) from None
    try:
        # A proxy of the environment cannot know what listens on this machine's loopback.
        uses_proxy = httpx.URL(base_url).host not in LOOPBACK
        with httpx.Client(trust_env=uses_proxy, timeout=TIMEOUT_SECONDS) as client:
            answer = client.post(f"{base_url}{path}", content=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise CommandFailed(
            f"no answer from {base_url} ({type(error).__name__}): start it with `makegood up`, or say where it is with --url. "
            f"To send exactly this again, add --idempotency-key {key}"
        ) from None
    if answer.is_success:
        replayed = answer.headers.get("Idempotent-Replayed") == "true"
        return print_record({**_object(answer), **({"idempotent_replayed": True} if replayed else {})}, as_json=as_json)
    raise _refused(answer)


def _refused(answer: "httpx.Response") -> CommandFailed:
    problem = _object(answer)
    code = str(problem.get("code", ""))
    errors = problem.get("errors")
    fields = [f"{one.get('pointer', '')}: {one.get('message', '')}" for one in errors] if isinstance(errors, list) else []
    detail = "; ".join(fields) or str(problem.get("detail", "the answer is none of Makegood's"))
    request_id = answer.headers.get("Request-Id", "-")
    told = printable(f"{answer.status_code} {code}: {detail} (Request-Id {request_id})")
    return CommandFailed(told, exit_code_of(code) if code else ExitCode.FAILED)


def _object(answer: "httpx.Response") -> dict[str, object]:
    try:
        parsed = answer.json()
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
