"""Runs the shared vectors through this client: `PYTHONPATH=. python tests/check_vectors.py`."""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

from makegood_client import (
    ConfigurationError,
    InvalidCallback,
    Makegood,
    MakegoodError,
    verify_callback,
    verify_callback_async,
)

VECTORS = Path(__file__).parents[2] / "vectors"
NAMES = {"base_url": "MAKEGOOD_URL", "api_key": "MAKEGOOD_API_KEY"}


def main() -> int:
    wrong = 0
    cases = _signing_cases() + _cases("verification.json")
    for case in cases:
        verdicts = {_decide(case), asyncio.run(_decide_async(case))}
        if verdicts != {case["verdict"]}:
            wrong += 1
            print(f"{case['name']}: {verdicts} instead of {case['verdict']}")
    settings = _cases("settings.json")
    for case in settings:
        verdict = _read_setting(case)
        if verdict != case["verdict"]:
            wrong += 1
            print(f"{case['name']}: {verdict} instead of {case['verdict']}")
    print(f"vectors: {len(cases) + len(settings) - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


def _cases(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())["cases"]
    return cases


def _signing_cases() -> list[dict[str, Any]]:
    """Each signing vector, as one that a receiver with the newest secret accepts."""
    return [
        case
        | {
            "secrets": [case["next_secret"] or case["secret"]],
            "now": case["timestamp"],
            "verdict": "accepted",
        }
        for case in _cases("signing.json")
    ]


def _decide(case: dict[str, Any]) -> str:
    asked: list[str] = []

    def seen(nonce: str) -> bool:
        asked.append(nonce)
        return nonce in case.get("seen_nonces", [])

    try:
        body = _body(case)
        parsed = verify_callback(
            case["headers"], body, secrets=case["secrets"], seen_nonce=seen, now=case["now"]
        )
    except (ConfigurationError, InvalidCallback) as error:
        return _refusal(error, asked)
    return _acceptance(case, parsed, asked)


async def _decide_async(case: dict[str, Any]) -> str:
    asked: list[str] = []

    async def seen(nonce: str) -> bool:
        asked.append(nonce)
        return nonce in case.get("seen_nonces", [])

    try:
        parsed = await verify_callback_async(
            case["headers"], _body(case), secrets=case["secrets"], seen_nonce=seen, now=case["now"]
        )
    except (ConfigurationError, InvalidCallback) as error:
        return _refusal(error, asked)
    return _acceptance(case, parsed, asked)


def _body(case: dict[str, Any]) -> Any:
    if "body_base64" in case:
        return base64.b64decode(case["body_base64"])
    return case["body"].encode() if isinstance(case["body"], str) else case["body"]


def _refusal(error: ConfigurationError | InvalidCallback, asked: list[str]) -> str:
    reason = error.reason if isinstance(error, InvalidCallback) else "configuration_error"
    return reason if len(asked) == (reason == "replayed_nonce") else "nonce used up"


def _acceptance(case: dict[str, Any], parsed: dict[str, Any], asked: list[str]) -> str:
    expected = case["callback"] if "callback" in case else json.loads(_body(case))
    return "accepted" if parsed == expected and len(asked) == 1 else "wrong body or nonce not asked"


def _read_setting(case: dict[str, Any]) -> str:
    """Nothing listens on port 1, so that a client whose settings are good finds no server."""
    good = {
        "base_url": "http://127.0.0.1:1",
        "api_key": "sk_test_1",
        "attempts": 1,
        "timeout_seconds": 5,
    }
    try:
        makegood = Makegood(**(good | {case["setting"]: case["value"]}))
        if case["setting"] == "api_key":
            makegood.receipt({})
    except ConfigurationError as error:
        text = str(error)
        names_it = NAMES[case["setting"]] in text
        return (
            "refused" if names_it and not _quotes(text, case["value"]) else f"refused with {text}"
        )
    except MakegoodError as error:
        return "taken" if error.code == "network_error" else error.code
    return "taken"


def _quotes(text: str, value: object) -> bool:
    return isinstance(value, str) and len(value.strip()) > 8 and value.strip() in text


sys.exit(main())
