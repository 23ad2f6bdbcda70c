"""Runs the shared vectors through this client: `PYTHONPATH=. python tests/check_vectors.py`."""

import json
import sys
from pathlib import Path
from typing import Any

from makegood_client import InvalidCallback, verify_callback

VECTORS = Path(__file__).parents[2] / "vectors"


def main() -> int:
    wrong = 0
    cases = _signing_cases() + json.loads((VECTORS / "verification.json").read_text())["cases"]
    for case in cases:
        verdict = _decide(case)
        if verdict != case["verdict"]:
            wrong += 1
            print(f"{case['name']}: {verdict} instead of {case['verdict']}")
    print(f"vectors: {len(cases) - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


def _signing_cases() -> list[dict[str, Any]]:
    """Each signing vector, as one that a receiver with the newest secret accepts."""
    return [
        case | {"secrets": [case["next_secret"] or case["secret"]], "now": case["timestamp"], "verdict": "accepted"}
        for case in json.loads((VECTORS / "signing.json").read_text())["cases"]
    ]


def _decide(case: dict[str, Any]) -> str:
    nonces = set(case.get("seen_nonces", []))
    asked: list[str] = []

    def seen(nonce: str) -> bool:
        asked.append(nonce)
        return nonce in nonces

    try:
        body = case["body"].encode()
        parsed = verify_callback(case["headers"], body, secrets=case["secrets"], seen_nonce=seen, now=case["now"])
    except InvalidCallback as invalid:
        return invalid.reason if not asked or invalid.reason == "replayed_nonce" else "nonce used up"
    return "accepted" if parsed == json.loads(body) and asked else "wrong body or nonce not asked"


sys.exit(main())
