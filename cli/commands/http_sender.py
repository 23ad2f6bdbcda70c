"""Sends a receipt or a result over HTTP, as an app would, and prints the response.

Used by `receipt send` and `result send`. It needs a running API and never opens the store.
"""

import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.output import CommandFailed, ExitCode, exit_code_of, print_record
from cli.settings import read_settings
from domain.values.text import printable

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 15
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def send(
    path: str,
    fields: Mapping[str, object],
    *,
    url: str | None,
    api_key: str,
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    """POST the fields that are not None, and print the response.

    Raises: CommandFailed when it was refused, or when no response came.
    """
    import httpx

    base_url = (url or read_settings().public_url_or_default).rstrip("/")
    key = idempotency_key or str(uuid.uuid4())
    # Checked first: the HTTP library would print a key that it cannot send.
    if not re.fullmatch("[!-~]+", api_key := api_key.strip()):
        raise CommandFailed(
            "--key (MAKEGOOD_API_KEY) must be one line of printable ASCII", ExitCode.USAGE
        )
    if not key.isprintable():
        raise CommandFailed("--idempotency-key must be printable", ExitCode.USAGE)
    headers = {b"Authorization": f"Bearer {api_key}".encode(), b"Idempotency-Key": key.encode()}
    headers |= {b"Accept": b"application/json", b"Content-Type": b"application/json"}
    # json.dumps escapes lone surrogates of arguments that are not UTF-8; httpx cannot encode them.
    try:
        body = json.dumps(
            {name: value for name, value in fields.items() if value is not None}
        ).encode()
    except RecursionError:
        raise CommandFailed("the payload is nested too deeply", ExitCode.USAGE) from None
    try:
        # A proxy cannot reach this machine's loopback.
        uses_proxy = httpx.URL(base_url).host not in LOOPBACK
        with httpx.Client(trust_env=uses_proxy, timeout=TIMEOUT_SECONDS) as client:
            answer = client.post(f"{base_url}{path}", content=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise CommandFailed(
            f"no answer from {base_url} ({type(error).__name__}): "
            "start the API with `makegood up`, or set its address with --url. "
            f"To retry this request, add --idempotency-key {key}"
        ) from None
    if answer.is_success:
        replayed = answer.headers.get("Idempotent-Replayed") == "true"
        return print_record(
            {**_object(answer), **({"idempotent_replayed": True} if replayed else {})},
            as_json=as_json,
        )
    raise _failure(answer)


def _failure(answer: "httpx.Response") -> CommandFailed:
    problem = _object(answer)
    code = str(problem.get("code", ""))
    errors = problem.get("errors")
    fields = (
        [f"{one.get('pointer', '')}: {one.get('message', '')}" for one in errors]
        if isinstance(errors, list)
        else []
    )
    detail = "; ".join(fields) or str(
        problem.get("detail", "the response did not come from Makegood")
    )
    request_id = answer.headers.get("Request-Id", "-")
    message = printable(f"{answer.status_code} {code}: {detail} (Request-Id {request_id})")
    return CommandFailed(message, exit_code_of(code) if code else ExitCode.FAILED)


def _object(answer: "httpx.Response") -> dict[str, object]:
    try:
        parsed = answer.json()
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


# Any: the API validates the value.
def read_json_file(path: Path) -> Any:
    """The JSON in the file of `--payload`. Raises: CommandFailed."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise CommandFailed(
            f"--payload: {path} cannot be read ({error.strerror})", ExitCode.USAGE
        ) from None
    except ValueError:
        raise CommandFailed(f"--payload: {path} is not JSON", ExitCode.USAGE) from None
    except RecursionError:
        raise CommandFailed(f"--payload: {path} is nested too deeply", ExitCode.USAGE) from None
