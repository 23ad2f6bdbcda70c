"""The disk under the store is full:

503, never a 202 that is not kept, and no restart is needed once there is room again.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from store.migrate import migrate
from tests.support.product import Product, product
from tests.support.waiting import wait_until

DISK_BYTES = 4 * 1024 * 1024
REQUESTS_AT_MOST = 2_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "makegood-test", str(path))
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system of its own takes Linux and root")
    yield path
    subprocess.run(("umount", "--lazy", str(path)), check=True)


@pytest.fixture
def shop(tmp_path: Path, disk: Path) -> Iterator[Product]:
    url = f"sqlite:///{disk / 'makegood.db'}"
    migrate(url)
    with product(tmp_path / "data", url) as installation:
        yield installation


def fill(disk: Path) -> Path:
    """A file that takes every byte that is free."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as out, suppress(OSError):
        while True:
            out.write(b"\0" * 4096)
    return filler


def send(shop: Product, number: int) -> httpx.Response:
    body = {
        "provider": "stripe",
        "provider_event_id": f"evt_full_{number}",
        "event_type": "invoice.paid",
        "effect_type": "credit_grant",
        "internal_reference": f"full_{number}",
        "occurred_at": "2026-11-23T11:13:55Z",
    }
    headers = shop.headers | {"Idempotency-Key": f"full {number}"}
    return shop.http.post("/api/v1/receipt", json=body, headers=headers)


def test_full_disk_is_answered_503_and_nothing_needs_a_restart(shop: Product, disk: Path) -> None:
    before = shop.receipt()
    filler = fill(disk)
    accepted: list[str] = []
    for number in range(REQUESTS_AT_MOST):  # what the log still has room for is taken, and kept
        refused = send(shop, number)
        if refused.status_code != 202:
            break
        accepted.append(refused.json()["event_id"])

    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert "Retry-After" in refused.headers
    again = [send(shop, len(accepted)).status_code for _ in range(5)]
    assert set(again) == {503}
    filler.unlink()

    # The same processes, and the same key: what was refused was not kept.
    wait_until(
        lambda: send(shop, len(accepted)).status_code == 202,
        seconds=20,
        what="a receipt is accepted again",
    )
    assert [shop.event(event_id)["state"] for event_id in (before, *accepted)] == ["waiting"] * (
        len(accepted) + 1
    )
    shop.say("result", {"event_id": before, "status": "failed"})
    shop.reprocess(before)
    wait_until(lambda: shop.receiver.calls, seconds=30, what="the worker calls")
    wait_until(lambda: shop.post.mails, seconds=30, what="the worker mails")
