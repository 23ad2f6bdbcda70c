"""A result that overtakes its receipt: each client sends it again to the real API."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.cli.api_process import running_api
from tests.cli.makegood import Makegood
from tests.sdks.wire import LANGUAGES, make_calls
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def makegood(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Makegood]:
    with running_api(tmp_path_factory.mktemp("data")) as makegood:
        yield makegood


@pytest.mark.parametrize("language", LANGUAGES)
def test_result_that_overtakes_its_receipt_is_applied(makegood: Makegood, language: str) -> None:
    url = f"http://127.0.0.1:{makegood.settings['MAKEGOOD_PORT']}"
    created = makegood("project", "create", language, "--mode", "test", "--json").json
    provider_event_id = f"evt_{language}"
    call: dict[str, Any] = {"base_url": url, "api_key": created["api_key"]}
    result = {"provider": "stripe", "provider_event_id": provider_event_id, "status": "success"}
    receipt = {
        "provider": "stripe",
        "provider_event_id": provider_event_id,
        "event_type": "invoice.paid",
        "effect_type": "credit_grant",
        "internal_reference": "order_1",
        "occurred_at": "2026-11-23T11:13:55Z",
    }
    refused_before = _early_results(url)

    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(make_calls, language, [call | {"call": "result", "fields": result}])
        wait_until(
            lambda: _early_results(url) > refused_before, seconds=60, what="the result is refused"
        )
        answer = httpx.post(
            f"{url}/api/v1/receipt",
            json=receipt,
            headers={
                "Authorization": f"Bearer {created['api_key']}",
                "Idempotency-Key": "receipt",
                "Accept": "application/json",
            },
            trust_env=False,
        )
        (outcome,) = early.result()

    assert answer.status_code == 202, answer.text
    assert (outcome["verdict"], outcome["answer"]["state"]) == ("accepted", "applied")


def _early_results(url: str) -> float:
    """The results that were refused because they named no receipt."""
    lines = httpx.get(f"{url}/metrics", trust_env=False).text.splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if 'code="not_found"' in line and 'endpoint="result"' in line
    )
