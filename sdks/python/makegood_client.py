"""The merchant's side of Makegood, in one file with no dependencies: report receipts and results,
verify repair callbacks.

    makegood = Makegood(base_url=os.environ["MAKEGOOD_URL"], api_key=os.environ["MAKEGOOD_API_KEY"])
    makegood.receipt({...})
    makegood.result({...})
    verifier = CallbackVerifier(secrets=os.environ["MAKEGOOD_SIGNING_SECRET"],
    seen_nonce=nonces.seen) repair = verifier.verify(headers, raw_body)

A client is safe to share between threads, and so are a verifier and `RecentNonces`.
"""

import calendar
import hashlib
import hmac
import http.client
import inspect
import io
import json
import math
import random
import re
import socket
import ssl
import threading
import time
import unicodedata
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Mapping
from email.utils import formatdate
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Any

__all__ = [
    "CallbackVerifier",
    "ConfigurationError",
    "InvalidCallback",
    "Makegood",
    "MakegoodError",
    "RecentNonces",
    "verify_callback",
    "verify_callback_async",
]

WINDOW_SECONDS = 300
_LONGEST_ANSWER = 1 << 20
_DEEPEST_BODY = 64
_LONGEST_DETAIL = 500
_PROSE = {"error_code": 255, "error_message": 2048}
_BLANKS = " \t\n\r\f\v"
_TIMESTAMP = "x-sendpromptly-timestamp"
_NONCE = "x-sendpromptly-nonce"
_SIGNATURE = "x-sendpromptly-signature"
_NEXT_SIGNATURE = "x-sendpromptly-signature-next"
_URL = re.compile(
    r"(?i:https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
)
_NUMBER = re.compile(r"[0-9]+|0[Xx][0-9A-Fa-f]*")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
# The value of every larger number of seconds, however many digits it has.
_LONGEST_RETRY_AFTER_SECONDS = 1e9
_HTTP_DATE = re.compile(
    r"[A-Z][a-z]{2}, ([0-9]{2}) ("
    + "|".join(_MONTHS)
    + r") ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)

# A JSON object as Makegood defines it; its fields are listed in the contract's documentation.
Json = dict[str, Any]
# Names to values, or pairs of them; a framework's headers, a WSGI environment and ASGI's list of
# byte pairs are such.
Headers = Mapping[str, Any] | Iterable[tuple[Any, Any]]
Body = bytes | bytearray | memoryview | str


class ConfigurationError(ValueError):
    """A setting or an argument can never work.

    Answer 500: it is the app's own fault, not the caller's. Quotes no value.
    """


class MakegoodError(Exception):
    """The call failed; `code` is the service's error code, or `network_error` when no answer came
    (`status` None).
    """

    def __init__(
        self, *, status: int | None, code: str, detail: str, request_id: str | None, retryable: bool
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.retryable = retryable
        self.retry_after_seconds: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Task queues pickle exceptions; arguments by name need this."""
        names = ("status", "code", "detail", "request_id", "retryable")
        return (
            partial(type(self), **{name: getattr(self, name) for name in names}),
            (),
            self.__dict__,
        )


class InvalidCallback(Exception):
    """The request is no genuine, fresh repair callback; `reason` says what is wrong.

    Answer 401 and do nothing.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Makegood:
    """Reports receipts and results, each up to `attempts` times under the same idempotency key.

    `timeout_seconds` bounds a whole call: every attempt, and the waits between them. The look-up of
    the host's name is bounded by the system's resolver instead.

    Raises:
        ConfigurationError: a setting can never work; the message names it and never quotes it.
    """

    def __init__(
        self, *, base_url: str, api_key: str, attempts: int = 3, timeout_seconds: float = 10
    ) -> None:
        self._base_url = _base_url(base_url)
        self._api_key = _credential(api_key, "api_key (MAKEGOOD_API_KEY)")
        if not isinstance(attempts, int) or attempts < 1:
            raise ConfigurationError("attempts must be a whole number of at least 1")
        if not isinstance(timeout_seconds, int | float) or not 0 < timeout_seconds <= 86_400:
            raise ConfigurationError("timeout_seconds must be more than 0 and at most 86400")
        self._attempts = attempts
        self._timeout_seconds = timeout_seconds
        # No proxy of the environment, as in every language: one that is misread would be an error
        # with its password.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), _HttpHandler, _HttpsHandler, _AnyAnswer
        )

    def receipt(self, fields: Json, *, idempotency_key: str | None = None) -> Json:
        """Say that the work of a payment event is accepted, before its effect runs.

        Raises:
            MakegoodError: it is not on record; `retryable` says whether the same call may succeed
            later.
        """
        return self._post("/api/v1/receipt", _members(fields), idempotency_key)

    def result(self, fields: Json, *, idempotency_key: str | None = None) -> Json:
        """Say that the effect was applied (`status` `success`) or was not (`failed`).

        `error_code` and `error_message` are cut to 255 and 2,048 characters.

        Raises:
            MakegoodError: it is not on record; `retryable` says whether the same call may succeed
            later.
        """
        return self._post("/api/v1/result", _with_short_prose(_members(fields)), idempotency_key)

    def _post(self, path: str, fields: Json, idempotency_key: str | None) -> Json:
        ends_at = time.monotonic() + self._timeout_seconds
        body = _json_body(fields)
        key = _idempotency_key(idempotency_key, body)
        # A result may overtake its receipt; only a provider's id can name a receipt that is still
        # on its way.
        may_be_early = path.endswith("/result") and _is_blank(fields.get("event_id"))
        for attempt in range(1, self._attempts + 1):
            is_last = attempt == self._attempts
            left = ends_at - time.monotonic()
            try:
                # A silent connection leaves half of the time to another try.
                return self._post_once(path, body, key, left if is_last else left / 2, may_be_early)
            except MakegoodError as error:
                wait_seconds = _wait_seconds(attempt, error.retry_after_seconds)
                if not error.retryable or is_last or wait_seconds >= ends_at - time.monotonic():
                    raise
                time.sleep(wait_seconds)
        raise AssertionError("attempts is at least 1")

    def _post_once(
        self, path: str, body: bytes, key: str, timeout_seconds: float, may_be_early: bool
    ) -> Json:
        headers = {
            "Authorization": f"Bearer {self._api_key}",
            "Idempotency-Key": key,
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        try:
            request = urllib.request.Request(self._base_url + path, data=body, headers=headers)  # noqa: S310  checked above
            with self._opener.open(request, timeout=timeout_seconds) as response:
                answer, is_whole = _read_answer(response)
        except (ValueError, http.client.InvalidURL):  # the library's own text may quote a setting
            raise _network_error("the address cannot be called") from None
        except (OSError, http.client.HTTPException) as failure:
            raise _network_error(str(failure)) from failure
        parsed = _object_or_none(answer)
        if 200 <= response.status <= 299:
            if not is_whole:
                raise _network_error("the answer was cut off")
            if parsed is not None and parsed.get("accepted") is True:
                return parsed
            parsed = None
        raise _refusal(response.status, response.headers, parsed or {}, may_be_early)


class RecentNonces:
    """Remembers nonces for as long as a callback may be repeated, in this process alone.

    With several processes or machines keep them in a shared store instead, such as Redis: `SET
    nonce 1 NX EX 600`.
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


class CallbackVerifier:
    """Decides whether a request is a genuine, fresh repair callback. Make it once, when the app
    starts.

    `secrets` is the signing secret, or several during a rotation: a list, or one text with commas
    between them. Each is trimmed. A blank one is refused, and so is none at all: anybody can sign
    with an empty key. `seen_nonce` records a nonce and says whether it had been seen; it is asked
    only when everything else holds.

    Raises:
        ConfigurationError: the secrets or `seen_nonce` can never work; no value is quoted.
    """

    def __init__(
        self,
        *,
        secrets: str | Iterable[str],
        seen_nonce: Callable[[str], bool] | Callable[[str], Awaitable[bool]],
    ) -> None:
        self._secrets = _signing_secrets(secrets)
        if not callable(seen_nonce):
            raise ConfigurationError("seen_nonce must be a function of a nonce")
        self._seen_nonce: Callable[[str], Any] = seen_nonce

    def verify(self, headers: Headers, body: Body, *, now: float | None = None) -> Json:
        """The repair that a callback asks for. `body` is the raw request body; `now` in unix
        seconds, the clock's when None.

        Raises:
            InvalidCallback: `missing_header`, `malformed_header`, `bad_signature`,
            `stale_timestamp`, `malformed_body` or `replayed_nonce`.
            ConfigurationError: `body` is not raw, `headers` are none, or the nonce check is
            asynchronous.
        """
        if _is_async(self._seen_nonce):
            raise ConfigurationError(
                "seen_nonce is asynchronous: await verify_async or verify_callback_async instead"
            )
        nonce, callback = self._genuine(headers, body, now)
        seen = self._seen_nonce(nonce)
        if inspect.isawaitable(seen):
            getattr(seen, "close", lambda: None)()  # it never ran, so that the nonce is not used up
            raise ConfigurationError(
                "seen_nonce is asynchronous: await verify_async or verify_callback_async instead"
            )
        return _unless_seen(seen, callback)

    async def verify_async(self, headers: Headers, body: Body, *, now: float | None = None) -> Json:
        """The same as `verify`; `seen_nonce` may be asynchronous, and is awaited."""
        nonce, callback = self._genuine(headers, body, now)
        seen = self._seen_nonce(nonce)
        return _unless_seen(await seen if inspect.isawaitable(seen) else seen, callback)

    def _genuine(self, headers: Headers, body: Body, now: float | None) -> tuple[str, Json]:
        """The nonce and the parsed body of a request whose signature holds."""
        raw = _raw_body(body)
        found = _callback_headers(headers)
        if any(found[name] is None for name in (_TIMESTAMP, _NONCE, _SIGNATURE)):
            raise InvalidCallback("missing_header")
        if not all(value is None or isinstance(value, str) for value in found.values()):
            raise InvalidCallback("malformed_header")
        timestamp, nonce = found[_TIMESTAMP], found[_NONCE]
        if not re.fullmatch(r"[0-9]{1,12}", timestamp) or not re.fullmatch(r"[0-9a-f]{32}", nonce):
            raise InvalidCallback("malformed_header")
        offered = (found[_SIGNATURE], found[_NEXT_SIGNATURE] or "")
        if raw is None or not _is_signed(
            f"{timestamp}.{nonce}.".encode() + raw, offered, self._secrets
        ):
            raise InvalidCallback("bad_signature")
        age_seconds = abs((time.time() if now is None else now) - int(timestamp))
        if not age_seconds <= WINDOW_SECONDS:  # a `now` that is not a number is stale too
            raise InvalidCallback("stale_timestamp")
        return nonce, _callback_body(raw)


def verify_callback(
    headers: Headers,
    body: Body,
    *,
    secrets: str | Iterable[str],
    seen_nonce: Callable[[str], bool],
    now: float | None = None,
) -> Json:
    """`CallbackVerifier(secrets=…, seen_nonce=…).verify(headers, body)`, with the same errors."""
    return CallbackVerifier(secrets=secrets, seen_nonce=seen_nonce).verify(headers, body, now=now)


async def verify_callback_async(
    headers: Headers,
    body: Body,
    *,
    secrets: str | Iterable[str],
    seen_nonce: Callable[[str], bool] | Callable[[str], Awaitable[bool]],
    now: float | None = None,
) -> Json:
    """`CallbackVerifier(secrets=…, seen_nonce=…).verify_async(headers, body)`, with the same
    errors.
    """
    return await CallbackVerifier(secrets=secrets, seen_nonce=seen_nonce).verify_async(
        headers, body, now=now
    )


def _signing_secrets(secrets: object) -> list[str]:
    named = "secrets (MAKEGOOD_SIGNING_SECRET)"
    if isinstance(secrets, str):
        secrets = [secrets]
    if isinstance(secrets, bytes | bytearray | memoryview | Mapping) or not isinstance(
        secrets, Iterable
    ):
        raise ConfigurationError(f"{named} must be a text or a list of texts")
    given = list(secrets)
    if not all(isinstance(secret, str) for secret in given):
        raise ConfigurationError(f"{named} must be a text or a list of texts")
    kept = [_credential(part, named) for secret in given for part in secret.split(",")]
    if not kept:
        raise ConfigurationError(f"{named} must hold at least one signing secret")
    return kept


def _credential(text: object, named: str) -> str:
    """The text without blanks around it. The errors name the setting and never quote it."""
    if not isinstance(text, str):
        raise ConfigurationError(f"{named} must be a text")
    trimmed = text.strip(_BLANKS)
    if trimmed in ("", "whsec_"):
        raise ConfigurationError(
            f"{named} must not be blank: is its variable set, with no comma too many?"
        )
    if not re.fullmatch(r"[\x21-\x7e]+", trimmed):
        raise ConfigurationError(f"{named} must be printable ASCII without blanks or line breaks")
    return trimmed


def _base_url(text: object) -> str:
    url = _credential(text, "base_url (MAKEGOOD_URL)")
    match = _URL.fullmatch(url)
    if not match or not 1 <= int(match.group(2) or 443) <= 65_535 or not _is_host(match.group(1)):
        raise ConfigurationError(
            "base_url (MAKEGOOD_URL) must be http:// or https:// with a host, without user, query"
            " or fragment"
        )
    return url.rstrip("/")


def _is_host(host: str) -> bool:
    """Whether it is an address in full, or may be a name. What ends in a number is no name."""
    try:
        if host.startswith("["):
            return bool(IPv6Address(host[1:-1]).packed)
        labels = host.removesuffix(".").split(".")
        if _NUMBER.fullmatch(labels[-1]):
            return bool(IPv4Address(host).packed)
    except ValueError:
        return False
    return len(host) <= 253 and all(0 < len(label) < 64 for label in labels)


def _idempotency_key(key: str | None, body: bytes) -> str:
    """The caller's key, or the content's digest: a repeat is then recognised by itself.

    A key that no header can carry is sent as its own digest: the same key is still the same.
    """
    if not isinstance(key, str) or key == "":
        return hashlib.sha256(body).hexdigest()
    if re.fullmatch(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?", key):
        return key
    return hashlib.sha256(_well_formed(key).encode()).hexdigest()


def _members(fields: object) -> Json:
    """The fields as a dict of our own, read once: a mapping of the app's may raise anything."""
    try:
        return {**fields}  # type: ignore[dict-item]  # what is no mapping raises
    except Exception:
        raise _validation_error("the fields must be a mapping of names to values") from None


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and value == "")


def _with_short_prose(fields: Json) -> Json:
    """A failed result is never lost for its prose: whatever it is, it becomes text that fits."""
    prose = {
        name: _text(fields[name])[:longest]
        for name, longest in _PROSE.items()
        if fields.get(name) is not None
    }
    return {**fields, **prose}


def _text(value: object) -> str:
    try:
        if isinstance(value, bytes | bytearray):
            return value.decode("utf-8", "replace")
        isoformat = getattr(value, "isoformat", None)
        return _well_formed(isoformat() if callable(isoformat) else str(value))
    except Exception:  # an object of the app's whose text cannot be made
        return f"a {type(value).__name__}"


def _well_formed(text: str) -> str:
    """Halves of a pair that stand alone become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _json_body(fields: Json) -> bytes:
    try:
        text = json.dumps(
            fields, separators=(",", ":"), allow_nan=False, ensure_ascii=False, default=_text
        )
        return _well_formed(text).encode()
    except Exception:  # a subclass of a list or a number may raise anything
        raise _validation_error("the fields cannot be written as JSON") from None


def _validation_error(detail: str) -> MakegoodError:
    return MakegoodError(
        status=None, code="validation_error", detail=detail, request_id=None, retryable=False
    )


def _wait_seconds(attempt: int, retry_after_seconds: float | None) -> float:
    """How long to wait before the next attempt; spread, so that a fleet does not retry in step."""
    if retry_after_seconds is None:
        return 0.2 * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311  no secret
    return retry_after_seconds + random.uniform(0, 0.1) * min(retry_after_seconds, 10)  # noqa: S311


def _retry_after(text: str, now: float) -> float | None:
    """Seconds from a `Retry-After` of either form (RFC 9110, 10.2.3); None for anything else."""
    if re.fullmatch(r"[0-9]+", text):
        return min(float(text), _LONGEST_RETRY_AFTER_SECONDS)
    match = _HTTP_DATE.fullmatch(text)
    if match is None or match.group(3) < "1970":
        return None
    day, month, year, *clock = match.groups()
    seconds = calendar.timegm((int(year), _MONTHS.index(month) + 1, int(day), *map(int, clock)))
    return max(0.0, seconds - now) if formatdate(seconds, usegmt=True) == text else None


def _read_answer(response: http.client.HTTPResponse) -> tuple[bytes, bool]:
    """The body, and whether it is all that was sent.

    A body without an end of its own may always be cut off.
    """
    lengths = response.headers.get_all("Content-Length", [])
    try:
        body = response.read(_LONGEST_ANSWER + 1)
    except (OSError, http.client.HTTPException):
        return b"", False
    if len(body) > _LONGEST_ANSWER:
        return b"", True
    if response.chunked or response.status == http.client.NO_CONTENT:
        return body, True
    if lengths:
        return body, len(set(lengths)) == 1 and lengths[0].isdigit() and response.length in (
            None,
            0,
        )
    return body, _object_or_none(body) is not None


def _object_or_none(body: bytes) -> Json | None:
    try:
        parsed = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _network_error(detail: str) -> MakegoodError:
    return MakegoodError(
        status=None,
        code="network_error",
        detail=_printable(detail),
        request_id=None,
        retryable=True,
    )


def _refusal(
    status: int, headers: http.client.HTTPMessage, problem: Json, may_be_early: bool
) -> MakegoodError:
    """The error of an answer. An empty `problem` is a proxy's page in between."""
    code, detail, request_id = problem.get("code"), problem.get("detail"), headers.get("Request-Id")
    is_code = isinstance(code, str) and re.fullmatch(r"[a-z0-9_]{1,64}", code) is not None
    error = MakegoodError(
        status=status,
        code=str(code) if is_code else "unexpected_answer",
        detail=_printable(detail) if isinstance(detail, str) and detail else f"status {status}",
        request_id=request_id if re.fullmatch(r"[\x21-\x7e]{1,128}", request_id or "") else None,
        retryable=(
            status in (408, 429)
            or 500 <= status <= 599
            or (status == 409 and code == "idempotency_in_progress")
            or (status == 404 and may_be_early)
        ),
    )
    error.retry_after_seconds = _retry_after(
        ", ".join(headers.get_all("Retry-After", [])).strip(_BLANKS), time.time()
    )
    return error


def _printable(text: str) -> str:
    """Text from outside as one line that is safe in a log or on a terminal, and not long."""
    cut = "".join(_printable_character(character) for character in text[:_LONGEST_DETAIL])
    return cut + ("…" if len(text) > _LONGEST_DETAIL else "")


def _printable_character(character: str) -> str:
    category = unicodedata.category(character)[0]
    if category == "Z" or character in _BLANKS:
        return " "
    return "\ufffd" if category == "C" else character


def _raw_body(body: object) -> bytes | None:
    """The bytes that were signed; None when no bytes can be what was signed."""
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if not isinstance(body, str):
        raise ConfigurationError(
            f"body must be the raw bytes of the request, not {type(body).__name__}: read it before"
            " any parser does"
        )
    try:
        return body.encode()
    except UnicodeEncodeError:
        return None


def _callback_headers(headers: object) -> dict[str, Any]:
    """The four headers:

    the one text of each, None when it is missing, and something else when it is malformed.
    """
    values: dict[str, list[Any]] = {
        name: [] for name in (_TIMESTAMP, _NONCE, _SIGNATURE, _NEXT_SIGNATURE)
    }
    for name, value in _pairs(headers):
        name = name.decode("latin-1") if isinstance(name, bytes) else name
        if not isinstance(name, str):
            continue
        name = name.lower()
        if name.startswith("http_"):  # as WSGI and CGI spell it
            name = name.removeprefix("http_").replace("_", "-")
        if name in values:
            values[name].extend(value if isinstance(value, list | tuple) else [value])
    return {name: _single(found) for name, found in values.items()}


def _pairs(headers: object) -> list[tuple[Any, Any]]:
    items = getattr(headers, "items", None)
    try:
        pairs: list[Any] = list(items()) if callable(items) else list(headers)  # type: ignore[call-overload]
        return [(name, value) for name, value in pairs]
    except (TypeError, ValueError):
        raise ConfigurationError("headers must map names to values, or be pairs of both") from None


def _single(values: list[Any]) -> Any:  # whatever a framework puts there
    given = [value.decode("latin-1") if isinstance(value, bytes) else value for value in values]
    if not given or given in ([None], [""]):
        return None
    return given[0] if len(given) == 1 else given


def _is_signed(signed: bytes, offered: Iterable[str], secrets: Iterable[str]) -> bool:
    """Compares every pair, whatever the outcome of the first, in constant time each."""
    expected = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    shaped = [signature for signature in offered if re.fullmatch(r"[0-9a-f]{64}", signature)]
    matches = [hmac.compare_digest(mine, theirs) for mine in expected for theirs in shaped]
    return any(matches)


def _callback_body(raw: bytes) -> Json:
    """A JSON object in UTF-8, no deeper than 64, of finite numbers; of a name given twice the last
    counts, as everywhere.
    """
    try:
        parsed = json.loads(
            raw.decode(), parse_constant=_no_number, parse_int=_whole, parse_float=_finite
        )
        if isinstance(parsed, dict) and _is_shallow(parsed):
            json.dumps(parsed, ensure_ascii=False).encode()  # half a surrogate pair is no text
            return parsed
    except (ValueError, RecursionError):
        pass
    raise InvalidCallback("malformed_body")


def _no_number(text: str) -> float:
    raise ValueError("NaN and Infinity are not JSON")


def _finite(text: str) -> float:
    """The number; one that no float can hold is infinite in other languages, and so is in none."""
    if math.isinf(number := float(text)):
        raise ValueError("a number is too large")
    return number


def _whole(text: str) -> int:
    _finite(text)
    return int(text)


def _is_shallow(parsed: Json) -> bool:
    level: list[Any] = [parsed]
    for _ in range(_DEEPEST_BODY):
        children = [
            child for node in level for child in (node.values() if isinstance(node, dict) else node)
        ]
        level = [child for child in children if isinstance(child, dict | list)]
    return not level


def _is_async(function: object) -> bool:
    while isinstance(function, partial):
        function = function.func
    call = getattr(function, "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _unless_seen(seen: object, callback: Json) -> Json:
    if not isinstance(seen, bool) and seen not in (0, 1):
        raise ConfigurationError("seen_nonce must return whether the nonce was seen, True or False")
    if seen:
        raise InvalidCallback("replayed_nonce")
    return callback


class _AnyAnswer(urllib.request.HTTPErrorProcessor):
    """Hands every answer over as it is: no redirect is followed, and no status raises."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        return response

    https_response = http_response


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpConnection, req)  # type: ignore[arg-type]  # called as the class it wants is


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpsConnection, req, context=ssl.create_default_context())  # type: ignore[arg-type]


class _Bounded(http.client.HTTPConnection):
    """A connection whose timeout bounds everything together:

    connecting, TLS, sending, and the whole answer.
    """

    def __init__(self, host: str, *, timeout: float, **options: Any) -> None:
        super().__init__(host, timeout=timeout, **options)
        self._ends_at = time.monotonic() + timeout
        self._create_connection = self._connect_in_time  # what `HTTPConnection.connect` calls
        self.response_class = partial(_BoundedResponse, ends_at=self._ends_at)  # type: ignore[assignment]

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self.sock.settimeout(_seconds_left(self._ends_at))
        super().send(data)

    def _connect_in_time(self, address: tuple[str, int], *_: object) -> socket.socket:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        for index, (family, kind, protocol, _name, resolved) in enumerate(found):
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(_seconds_left(self._ends_at) / (len(found) - index))
                connection.connect(resolved)
                connection.settimeout(_seconds_left(self._ends_at))
                return connection
            except OSError:
                connection.close()
                if index == len(found) - 1:
                    raise
        raise OSError("the host has no address")


class _HttpConnection(_Bounded):
    pass


class _HttpsConnection(_Bounded, http.client.HTTPSConnection):
    pass


class _BoundedResponse(http.client.HTTPResponse):
    """An answer that must be over by `ends_at`, and that is the final one:

    1xx answers before it are skipped.
    """

    def __init__(
        self, sock: socket.socket, *arguments: Any, ends_at: float, **options: Any
    ) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_BoundedReader(sock, self.fp.detach(), ends_at))  # type: ignore[attr-defined]

    def begin(self) -> None:
        for _ in range(20):
            super().begin()
            if not 100 <= self.status <= 199:
                return
            if self.status == http.client.SWITCHING_PROTOCOLS:
                raise http.client.HTTPException("the server switched protocols")
            self.headers = None  # type: ignore[assignment]  # so that `begin` reads on
        raise http.client.HTTPException("too many interim answers")


class _BoundedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, raw: io.RawIOBase, ends_at: float) -> None:
        self._sock, self._raw, self._ends_at = sock, raw, ends_at

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_seconds_left(self._ends_at))
        return self._raw.readinto(buffer)  # type: ignore[attr-defined,no-any-return]

    def close(self) -> None:
        self._raw.close()
        super().close()


def _seconds_left(ends_at: float) -> float:
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer did not come in time")
    return left
