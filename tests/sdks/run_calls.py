"""Makes the calls that standard input lists, with the Python client; prints what came of each."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from makegood_client import Makegood, MakegoodError


def make(call: dict[str, Any]) -> dict[str, Any]:
    bounds = {name: call[name] for name in ("attempts", "timeout_seconds") if name in call}
    makegood = Makegood(
        base_url=call["base_url"], api_key=call.get("api_key", "sk_test_1"), **bounds
    )
    try:
        key = call.get("idempotency_key")
        answer = getattr(makegood, call["call"])(call["fields"], idempotency_key=key)
    except MakegoodError as error:
        return {
            "verdict": error.code,
            "status": error.status,
            "detail": error.detail,
            "request_id": error.request_id,
            "retryable": error.retryable,
            "retry_after": error.retry_after_seconds,
            "text": str(error),
        }
    return {"verdict": "accepted", "answer": answer}


with ThreadPoolExecutor(8) as pool:
    json.dump(list(pool.map(make, json.load(sys.stdin))), sys.stdout)
