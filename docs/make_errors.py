"""Writes `reference/errors.md` from the table of codes that the API answers with.

    .venv/bin/python docs/make_errors.py

`tests/test_docs.py` fails while the page differs from the code.
"""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from api.http.problems import PROBLEM_TYPES  # noqa: E402

PAGE = DOCS / "reference" / "errors.md"
HEAD = """# Error codes

Every error has one shape, `application/problem+json` (`application/json` where only
that is accepted):

```json
{"type": "https://…/docs/errors/validation_error", "title": "Validation failed", "status": 422,
 "detail": "…", "code": "validation_error", "request_id": "req_…", "retryable": false,
 "errors": [{"pointer": "/provider", "code": "required", "message": "This field is required."}]}
```

Branch on `code`, which never changes. Show `detail` to people. Only a 422 has `errors`, which never
repeats what was sent. `retryable` says whether the same request, with the same `Idempotency-Key`,
may succeed later. Each code has its page at `/docs/errors/{code}` of your own API.

| code | status | retryable | what happened | what to do |
| --- | --- | --- | --- | --- |
"""


def write_page() -> str:
    """The whole page."""
    rows = [
        f"| `{code.value}` | {kind.status} | {'yes' if kind.is_retryable else 'no'} | {kind.cause}"
        f" | {kind.remedy} |"
        for code, kind in PROBLEM_TYPES.items()
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(write_page(), encoding="utf-8")
