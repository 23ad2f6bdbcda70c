"""`makegood up` replaces children that are alive and do nothing."""

import json
import re
import urllib.request
from pathlib import Path

from store.maintenance.mailbox import list_mails
from tests.cli.up.instance import Instance, status
from tests.support.processes import all_gone, python, running
from tests.support.waiting import wait_until

# `makegood up` with shorter liveness limits.
IMPATIENT_UP = python(
    "-c",
    "import sys; from cli.up.child_health import LivenessLimits; from cli.up.run import run_up;"
    " from config.settings import load_settings; sys.exit(run_up(load_settings(),"
    " limits=LivenessLimits(interval_seconds=0.5, failing_seconds=1.5, silent_seconds=6)))",
)
PARTS = ("temporal", "mailbox", "worker", "api")
RECEIPT = {
    "provider": "stripe",
    "stripe_event_id": "evt_frozen",
    "event_type": "invoice.paid",
    "effect_type": "access_unlock",
    "internal_reference": "order-1",
    "occurred_at": "2026-11-23T11:00:00Z",
    "timeout_minutes": 0.02,
}


def test_frozen_children_are_killed_and_the_next_receipt_is_handled(
    tmp_path: Path,
) -> None:
    instance = Instance(tmp_path / "data")
    with running(*IMPATIENT_UP, environment=instance.environment) as program:
        program.wait_for("Ctrl-C stops everything", seconds=30)
        frozen = [process for process in program.descendants() if not process.children()]

        for process in frozen:
            process.suspend()

        for part in PARTS:
            program.wait_for(f"{part} is alive but fails its check", seconds=40)
            program.wait_for(f"{part} was ended by SIGKILL; restarting it", seconds=20)
        assert len(frozen) == len(PARTS)
        assert all_gone(frozen)
        wait_until(lambda: is_ready(instance), seconds=30, what="all of it is well again")
        key = re.findall(r"Bearer (\S+)\"", program.output)[0]
        assert accept(instance, key)
        wait_until(
            lambda: list_mails(instance.data_dir / "mailbox"),
            seconds=30,
            what="the mail of its incident",
        )


def is_ready(instance: Instance) -> bool:
    try:
        return status(f"http://127.0.0.1:{instance.api}/readyz") == 200
    except OSError:  # an answer of 503 among them
        return False


def accept(instance: Instance, key: str) -> bool:
    """Whether a receipt was accepted whose deadline comes in a second."""
    headers = {
        "Authorization": f"Bearer {key}",
        "Accept": "application/json",
        "Content-Type": "application/json",
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{instance.api}/api/v1/receipt",
        data=json.dumps(RECEIPT).encode(),
        headers=headers | {"Idempotency-Key": "the first"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return bool(json.loads(answer.read())["accepted"])
