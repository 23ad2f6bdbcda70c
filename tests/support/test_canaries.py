"""Planted secrets are found nowhere: not on disk, in no log, answer, metric, mail or traceback, nor
in Temporal's database.

A real instance, with the logs of `makegood up`. And a deleted project's runs end in its Temporal.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.canaries import (
    Canaries,
    files_below,
    indiscreet_provider,
)
from tests.support.plant_canaries import (
    fail_unexpectedly,
    plant_at_the_provider,
    plant_in_console,
    plant_in_projects,
    plant_in_requests,
    plant_in_sign_in,
    plant_in_sources,
)
from tests.support.plant_in_destinations import plant_in_destinations
from tests.support.product import Product, product
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture(scope="module")
def data_dir(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything is kept: the store's database and Temporal's."""
    directory = tmp_path_factory.mktemp("canaries") / "data"
    directory.mkdir()
    (directory / "makegood.db").write_bytes(sqlite_template.read_bytes())
    return directory


@pytest.fixture(scope="module")
def provider() -> Iterator[tuple[str, list[str]]]:
    with indiscreet_provider() as found:
        yield found


@pytest.fixture(scope="module")
def shop(canaries: Canaries, data_dir: Path, provider: tuple[str, list[str]]) -> Iterator[Product]:
    settings = {
        "MAKEGOOD_SECRET_KEY": canaries.new("root secret"),
        "MAKEGOOD_SECRET_KEY_PREVIOUS": canaries.new("root secret before it"),
        # Nobody listens there: each mail fails, and says why.
        "MAKEGOOD_SMTP_URL": f"smtp://ops:{canaries.new('SMTP password')}@127.0.0.1:9",
        "MAKEGOOD_OIDC_ISSUER": provider[0],
        "MAKEGOOD_OIDC_CLIENT_ID": "makegood",
        "MAKEGOOD_OIDC_CLIENT_SECRET": canaries.new("OIDC client secret"),
        # Nobody listens there either.
        "MAKEGOOD_STRIPE_API_URL": "http://127.0.0.1:9",
        "MAKEGOOD_LOG_FORMAT": "console",
        "MAKEGOOD_LOG_LEVEL": "debug",
    }
    with product(
        data_dir, f"sqlite:///{data_dir / 'makegood.db'}", settings=settings
    ) as installation:
        yield installation


def test_planted_secrets_are_found_nowhere(
    shop: Product,
    canaries: Canaries,
    provider: tuple[str, list[str]],
    data_dir: Path,
    tmp_path: Path,
) -> None:
    plant_in_projects(shop, canaries)
    kept = plant_in_requests(shop, canaries)
    plant_in_sources(shop, canaries)
    plant_in_destinations(shop, canaries)
    browser = plant_in_console(shop, canaries)
    halfway = plant_in_sign_in(shop, canaries, browser)
    plant_at_the_provider(shop, canaries, provider[1])
    fail_unexpectedly(shop, canaries, browser, data_dir, halfway)
    failed = shop.receipt(internal_reference="order_of_the_canaries")
    shop.say("result", {"event_id": failed, "status": "failed", "error_code": "died"})
    shop.reprocess(failed)
    wait_until(lambda: shop.receiver.calls, what="the signed callback")
    wait_until(lambda: "alert_failed" in json.dumps(shop.event(failed)), what="a mail that failed")
    for path in (
        "/metrics",
        "/readyz",
        "/openapi.json",
        f"/api/v1/events/{kept}",
        "/api/v1/events",
        "/api/v1/project",
    ):
        canaries.collect(shop.http.get(path, headers=shop.headers))
    assert shop.makegood("backup", str(tmp_path / "backup")).code == 0
    browser.close()

    contents = {
        f"log of {name}": shop.output(name).encode() for name in ("api", "worker", "temporal")
    }
    contents |= {
        "backup": gzip.decompress((tmp_path / "backup").read_bytes()),
        "answers": "\n".join(canaries.answers).encode(),
    }
    contents |= {
        "doctor": shop.makegood("doctor").out.encode(),
        "config": shop.makegood("config").out.encode(),
    }
    files = files_below(data_dir)

    assert canaries.found_in(contents | files) == set()
    assert len(canaries.planted) >= 40
    # The search would have found them: these are no secrets, and are there.
    in_store = b"".join(
        content for name, content in files.items() if name.startswith("makegood.db")
    )
    in_temporal = b"".join(
        content for name, content in files.items() if name.startswith("temporal")
    )
    assert b"order_of_the_canaries" in in_store
    assert b"order_of_the_canaries" in contents["backup"]
    assert failed.encode() in in_temporal
    assert failed.encode() in contents["log of worker"]


def test_runs_of_a_deleted_project_end(shop: Product) -> None:
    waiting, failed = shop.receipt(), shop.receipt()
    shop.say("result", {"event_id": failed, "status": "failed", "error_code": "died"})
    of_both = f"WorkflowId IN ('receipt-{waiting}', 'receipt-{failed}')"

    def runs(status: str) -> bool:
        counted = shop.temporal(
            "workflow", "count", "--query", f"{of_both} AND ExecutionStatus = '{status}'"
        )
        return "Total: 2" in counted

    wait_until(lambda: runs("Running"), what="both receipts have a run")
    refused = shop.makegood("project", "delete", "shop", "--confirm", "shop")

    deleted = shop.makegood(
        "project", "delete", "shop", "--confirm", "shop", "--end-open", "--json"
    ).json

    assert (refused.code, "have not ended" in refused.err) == (2, True)
    assert deleted["receipts_ended"] >= 2
    wait_until(lambda: runs("Completed"), seconds=40, what="both runs have ended")
    wait_until(
        lambda: shop.http.get("/api/v1/events", headers=shop.headers).status_code == 401,
        what="its key is refused",
    )
