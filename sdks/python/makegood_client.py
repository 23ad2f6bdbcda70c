"""The merchant's side of Makegood, in one file with no dependencies: report receipts and results, verify repair callbacks.

    makegood = Makegood(base_url="https://makegood.example.com", api_key=os.environ["MAKEGOOD_API_KEY"])
    makegood.receipt({...})
    makegood.result({...})
    repair = verify_callback(headers, raw_body, secrets=[secret], seen_nonce=nonces.seen)

A client is safe to share between threads, and so is `RecentNonces`.
"""

import hashlib
import hmac
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from email.message import Message
from http.client import HTTPException, HTTPMessage
from typing import IO, Any

__all__ = ["InvalidCallback", "Makegood", "MakegoodError", "RecentNonces", "verify_callback"]

WINDOW_SECONDS = 300
_LONGEST_WAIT_SECONDS = 5.0

# A JSON object as Makegood defines it; its fields are listed in the contract's documentation.
Json = dict[str, Any]


class MakegoodError(Exception):
    """The call failed; `code` is the service's error code, or `network_error` when no answer came (`status` None)."""

    def __init__(self, *, status: int | None, code: str, detail: str, request_id: str | None, retryable: bool) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.retryable = retryable
        self.retry_after_seconds: float | None = None


class InvalidCallback(Exception):
    """The request is no genuine, fresh repair callback; `reason` says what is wrong. Answer 401 and do nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Makegood:
    """Reports receipts and results, each up to `attempts` times under the same idempotency key."""

    def __init__(self, *, base_url: str, api_key: str, attempts: int = 3, timeout_seconds: float = 10) -> None:
        if not base_url.startswith(("https://", "http://")):
            raise ValueError("base_url must start with https:// or http://")
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._attempts = attempts
        self._timeout_seconds = timeout_seconds
        self._opener = urllib.request.build_opener(_NoRedirect)

    def receipt(self, fields: Json, *, idempotency_key: str | None = None) -> Json:
        """Say that the work of a payment event is accepted, before its effect runs.

        Raises:
            MakegoodError: it is not on record; `retryable` says whether the same call may succeed later.
        """
        return self._post("/api/v1/receipt", fields, idempotency_key)

    def result(self, fields: Json, *, idempotency_key: str | None = None) -> Json:
        """Say that the effect was applied (`status` `success`) or was not (`failed`).

        Raises:
            MakegoodError: it is not on record; `retryable` says whether the same call may succeed later.
        """
        return self._post("/api/v1/result", fields, idempotency_key)

    def _post(self, path: str, fields: Json, idempotency_key: str | None) -> Json:
        body = json.dumps(fields, separators=(",", ":"), allow_nan=False).encode()
        # The key of a call is its content, unless the caller has a better one: a repeat is then recognised by itself.
        key = idempotency_key or hashlib.sha256(body).hexdigest()
        for attempt in range(1, self._attempts + 1):
            try:
                return self._post_once(path, body, key)
            except MakegoodError as error:
                if not error.retryable or attempt == self._attempts:
                    raise
                wait_seconds = 0.2 * 2**attempt if error.retry_after_seconds is None else error.retry_after_seconds
                time.sleep(min(wait_seconds, _LONGEST_WAIT_SECONDS))
        raise ValueError("attempts must be at least 1")

    def _post_once(self, path: str, body: bytes, key: str) -> Json:
        headers = {
            "Authorization": f"Bearer {self._api_key}",
            "Idempotency-Key": key,
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        request = urllib.request.Request(self._base_url + path, data=body, headers=headers)  # noqa: S310  checked above
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as response:
                status, answer_headers, answer_body = response.status, response.headers, response.read()
        except urllib.error.HTTPError as answer:
            with answer:
                raise _refusal(answer.code, answer.headers, answer.read()) from None
        except (OSError, HTTPException) as failure:
            raise MakegoodError(
                status=None, code="network_error", detail=str(failure), request_id=None, retryable=True
            ) from failure
        try:
            return _object(answer_body)
        except ValueError:
            raise _refusal(status, answer_headers, b"{}") from None


class RecentNonces:
    """Remembers nonces for as long as a callback may be repeated, in this process alone.

    With several processes or machines keep them in a shared store instead, such as Redis: `SET nonce 1 NX EX 600`.
    """

    def __init__(self) -> None:
        self._forget_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def seen(self, nonce: str) -> bool:
        """Whether the nonce was seen before; it counts as seen from now on."""
        now = time.monotonic()
        with self._lock:
            for old in [old for old, forget_at in self._forget_at.items() if forget_at < now]:
                del self._forget_at[old]
            if nonce in self._forget_at:
                return True
            self._forget_at[nonce] = now + 2 * WINDOW_SECONDS
            return False


def verify_callback(
    headers: Mapping[str, str],
    body: bytes,
    *,
    secrets: Iterable[str],
    seen_nonce: Callable[[str], bool],
    now: float | None = None,
) -> Json:
    """The repair that a callback asks for. `body` is the raw request body, before any parsing.

    `secrets` holds the signing secret, or the old and the new one during a rotation. `seen_nonce` records a nonce and says
    whether it had been seen; it is asked only when the signature holds. `now` is in unix seconds, the clock's when None.

    Raises:
        InvalidCallback: `missing_header`, `malformed_header`, `bad_signature`, `stale_timestamp` or `replayed_nonce`.
    """
    found = {name.lower(): value for name, value in headers.items()}
    timestamp = found.get("x-sendpromptly-timestamp")
    nonce = found.get("x-sendpromptly-nonce")
    signature = found.get("x-sendpromptly-signature")
    if not timestamp or not nonce or not signature:
        raise InvalidCallback("missing_header")
    if not re.fullmatch(r"[0-9]{1,12}", timestamp) or not re.fullmatch(r"[0-9a-f]{32}", nonce):
        raise InvalidCallback("malformed_header")
    offered = (signature, found.get("x-sendpromptly-signature-next") or "")
    if not _is_signed(f"{timestamp}.{nonce}.".encode() + body, offered, secrets):
        raise InvalidCallback("bad_signature")
    if abs((time.time() if now is None else now) - int(timestamp)) > WINDOW_SECONDS:
        raise InvalidCallback("stale_timestamp")
    if seen_nonce(nonce):
        raise InvalidCallback("replayed_nonce")
    return _object(body)


def _is_signed(signed: bytes, offered: Iterable[str], secrets: Iterable[str]) -> bool:
    """Compares every pair, whatever the outcome of the first, in constant time each."""
    expected = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode() for secret in secrets]
    matches = [hmac.compare_digest(mine, theirs.encode()) for mine in expected for theirs in offered]
    return any(matches)


def _refusal(status: int, headers: Message, body: bytes) -> MakegoodError:
    try:
        problem = _object(body)
    except ValueError:
        problem = {}  # a proxy's page in between
    error = MakegoodError(
        status=status,
        code=str(problem.get("code", "unexpected_answer")),
        detail=str(problem.get("detail", f"status {status}")),
        request_id=headers.get("Request-Id"),
        retryable=bool(problem.get("retryable", status == 429 or status >= 500)),
    )
    retry_after = headers.get("Retry-After", "")
    error.retry_after_seconds = float(retry_after) if re.fullmatch(r"[0-9]{1,6}", retry_after) else None
    return error


def _object(body: bytes) -> Json:
    parsed = json.loads(body)
    if not isinstance(parsed, dict):
        raise ValueError("a JSON object was expected")
    return parsed


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: urllib would turn the POST into a GET."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None
