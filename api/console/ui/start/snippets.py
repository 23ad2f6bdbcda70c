"""The code of each step in five languages, with the reader's own address and key. Pure.

One list of calls serves all languages: `calls_of` has the fields, and each language writes them as
its own literals. The repair endpoints are in `endpoints`. The models are `sdks/*/examples`.
"""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from api.console.ui.start.endpoints import ENDPOINTS
from operations.onboarding.checklist import Step

LANGUAGES: Mapping[str, str] = {
    "curl": "curl",
    "node": "Node.js",
    "php": "PHP",
    "laravel": "Laravel",
    "python": "Python",
}
# Short enough to wait for. A live project takes whole minutes only.
TEST_TIMEOUT_MINUTES, LIVE_TIMEOUT_MINUTES = 0.1, 1
NO_KEY, NO_SECRET = "YOUR_API_KEY", "YOUR_SIGNING_SECRET"

Fields = Mapping[str, str | float]


@dataclass(frozen=True, slots=True)
class SnippetFacts:
    """What the snippets hold. The key and the secret are None unless this page shows them once.

    `number` makes the events of this page new ones. `open_event_id` is that of the incident to
    resolve, if there is one. All values are the same in each response to one page.
    """

    url: str
    project: str
    livemode: bool
    occurred_at: str
    number: int = 1
    api_key: str | None = field(default=None, repr=False)
    signing_secret: str | None = field(default=None, repr=False)
    open_event_id: str | None = None

    @property
    def key(self) -> str:
        return self.api_key or NO_KEY


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the API: `receipt` or `result`, and its fields."""

    name: str
    fields: Fields


def snippets_of(facts: SnippetFacts) -> dict[Step, dict[str, str]]:
    """The text of each step by language."""
    calls = calls_of(facts)
    written = {
        step: {language: _WRITERS[language](facts, calls[step]) for language in LANGUAGES}
        for step in calls
    }
    repair = {
        language: text.replace("$url", facts.url).replace("$key", facts.key)
        for language, text in ENDPOINTS.items()
    }
    repair["curl"] = f"makegood project test-repair {shlex.quote(facts.project)}\n"
    keys = {language: _settings(facts, language) for language in LANGUAGES}
    return {Step.KEY: keys, **written, Step.REPAIR: repair}


def calls_of(facts: SnippetFacts) -> dict[Step, Sequence[Call]]:
    """The calls of each step that makes some."""
    first, late, failed = "evt_first", f"evt_late_{facts.number}", f"evt_failed_{facts.number}"
    timeout = LIVE_TIMEOUT_MINUTES if facts.livemode else TEST_TIMEOUT_MINUTES
    resolved: Fields = {"event_id": facts.open_event_id or "", "status": "success"}
    if facts.open_event_id is None:
        resolved = _result(late, status="success")
    failure = {"error_code": "seat_limit", "error_message": "No seat was free."}
    return {
        Step.RECEIPT: (Call("receipt", _receipt(facts, first, "order-1001")),),
        Step.RESULT: (Call("result", _result(first, status="success")),),
        Step.TIMEOUT: (
            Call("receipt", {**_receipt(facts, late, "order-1002"), "timeout_minutes": timeout}),
        ),
        Step.ALERT: (
            Call("receipt", _receipt(facts, failed, "order-1003")),
            Call("result", _result(failed, status="failed", **failure)),
        ),
        Step.RESOLVED: (Call("result", resolved),),
    }


def _receipt(facts: SnippetFacts, event: str, reference: str) -> Fields:
    return {
        "provider": "stripe",
        "provider_event_id": event,
        "event_type": "invoice.paid",
        "effect_type": "credit_grant",
        "internal_reference": reference,
        "occurred_at": facts.occurred_at,
    }


def _result(event: str, **fields: str) -> Fields:
    return {"provider": "stripe", "provider_event_id": event, **fields}


def _settings(facts: SnippetFacts, language: str) -> str:
    """The settings as lines of an `.env` file, which a shell reads too."""
    values = {
        "MAKEGOOD_URL": facts.url,
        "MAKEGOOD_API_KEY": facts.key,
        "MAKEGOOD_SIGNING_SECRET": facts.signing_secret or NO_SECRET,
    }
    export = "export " if language == "curl" else ""
    lines = [f"{export}{name}={shlex.quote(value)}" for name, value in values.items()]
    return "\n".join([*_INSTALL.get(language, ()), *lines]) + "\n"


# The packages are in the repository of Makegood.
_COMPOSER = (
    "# composer config repositories.makegood path ./sdks/php",
    "# composer require makegood/client:@dev",
    "# .env",
)
_INSTALL: Mapping[str, Sequence[str]] = {
    "node": ("# npm install ./sdks/node", "# .env"),
    "php": _COMPOSER,
    "laravel": _COMPOSER,
    "python": ("# pip install ./sdks/python", "# .env"),
}


def _curl(facts: SnippetFacts, calls: Sequence[Call]) -> str:
    return "\n".join(_one_curl(facts, call) for call in calls)


def _one_curl(facts: SnippetFacts, call: Call) -> str:
    fields = call.fields
    event = fields.get("provider_event_id") or fields["event_id"]
    named = f"{event}:-:{fields.get('status')}:-"
    if call.name == "receipt":
        named = f"{fields['provider']}:{event}:{fields['effect_type']}"
    key = f"{call.name}:{named}"
    body = json.dumps(dict(fields), indent=2)
    lines = (
        f"curl {shlex.quote(f'{facts.url}/api/v1/{call.name}')}",
        f"  -H {shlex.quote(f'Authorization: Bearer {facts.key}')}",
        f"  -H {shlex.quote(f'Idempotency-Key: {key}')}",
        "  -H 'Content-Type: application/json' -H 'Accept: application/json'",
        f"  -d {shlex.quote(body)}",
    )
    return " \\\n".join(lines) + "\n"


def _node(facts: SnippetFacts, calls: Sequence[Call]) -> str:
    url, key = json.dumps(facts.url), json.dumps(facts.key)
    head = (
        'import { Makegood } from "makegood-client";\n\n'
        f"const makegood = new Makegood({{ baseUrl: {url}, apiKey: {key} }});\n"
    )
    shown = (
        f"console.log(await makegood.{call.name}({{\n"
        + _lines(call, "  {name}: {value},\n", json.dumps)
        + "}));\n"
        for call in calls
    )
    return head + "".join(shown)


def _python(facts: SnippetFacts, calls: Sequence[Call]) -> str:
    url, key = json.dumps(facts.url), json.dumps(facts.key)
    head = (
        "from makegood_client import Makegood\n\n"
        f"makegood = Makegood(base_url={url}, api_key={key})\n"
    )
    shown = (
        f"print(makegood.{call.name}({{\n"
        + _lines(call, '    "{name}": {value},\n', json.dumps)
        + "}))\n"
        for call in calls
    )
    return head + "".join(shown)


def _php(facts: SnippetFacts, calls: Sequence[Call]) -> str:
    url, key = _php_literal(facts.url), _php_literal(facts.key)
    head = (
        "<?php\n\nrequire 'vendor/autoload.php';\n\n"
        f"$makegood = new Makegood\\Client(baseUrl: {url}, apiKey: {key});\n"
    )
    shown = (
        f"print_r($makegood->{call.name}([\n"
        + _lines(call, "    '{name}' => {value},\n", _php_literal)
        + "]));\n"
        for call in calls
    )
    return head + "".join(shown)


def _laravel(facts: SnippetFacts, calls: Sequence[Call]) -> str:
    url, key = _php_literal(facts.url), _php_literal(facts.key)
    head = f"// php artisan tinker\n$makegood = new Makegood\\Client({url}, {key});\n"
    shown = (
        f"$makegood->{call.name}([\n"
        + _lines(call, "    '{name}' => {value},\n", _php_literal)
        + "]);\n"
        for call in calls
    )
    return head + "".join(shown)


def _lines(call: Call, line: str, literal: Callable[[str | float], str]) -> str:
    return "".join(
        line.format(name=name, value=literal(value)) for name, value in call.fields.items()
    )


def _php_literal(value: str | float) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_WRITERS: Mapping[str, Callable[[SnippetFacts, Sequence[Call]], str]] = {
    "curl": _curl,
    "node": _node,
    "php": _php,
    "laravel": _laravel,
    "python": _python,
}
