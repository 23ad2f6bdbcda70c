"""Failing alerts show in readiness, metrics, doctor and on the event's page. Only the page has
addresses.
"""

from datetime import timedelta

import pytest
from sqlalchemy import text

from cli.doctor.findings import Verdict
from cli.doctor.store import _check_alerts
from domain.incidents import AlertEnd
from operations.readiness import CheckStatus, judge_alerts
from store.alerts.claims import claim_alerts
from store.alerts.delivery import record_alert_ended, record_alert_failed
from store.db.database import Database
from store.maintenance.metrics import FailingAlerts
from store.status.heartbeats import ALERT_SENT_FACT, write_fact
from tests.api.conftest import Caller
from tests.api.health.test_routes import ALIVE, say_alive


async def fail_one(caller: Caller, database: Database, *, reason: AlertEnd | None = None) -> str:
    """An incident whose alert has just failed, or was given up for this reason."""
    event_id = await caller.accept()
    await caller.incident_of(event_id)
    async with database.transaction() as session:
        now = await database.now(session)
        (alert,) = await claim_alerts(session, now, limit=1)
        if reason is None:
            retry_at = now + timedelta(hours=1)
            await record_alert_failed(
                session, alert.alert_id, now, error="SMTPDataError 451", retry_at=retry_at
            )
        else:
            await record_alert_ended(
                session, alert.alert_id, now, reason=reason, error="SMTPDataError 550"
            )
    return event_id


async def age_failures(database: Database, seconds: int) -> None:
    async with database.transaction() as session:
        await session.execute(
            text("UPDATE alerts SET failing_since = failing_since - :ms"), {"ms": seconds * 1_000}
        )


async def test_alerts_that_fail_for_minutes_make_readiness_red_with_their_error(
    caller: Caller, database: Database
) -> None:
    await say_alive(database, **ALIVE)
    await fail_one(caller, database)
    at_first = await caller.client.get("/readyz")
    await age_failures(database, 600)

    later = await caller.client.get("/readyz")
    metrics = (await caller.client.get("/metrics")).text

    assert at_first.status_code == 200, at_first.text
    assert at_first.json()["checks"]["alerts"] == {"status": "ok", "detail": "1 are tried again."}
    assert later.status_code == 503
    assert later.json()["checks"]["alerts"] == {
        "status": "failed",
        "detail": (
            "1 fail, the first for 10 minutes; 0 ended unsent in the last 15 minutes (SMTPDataError"
            " 451)."
        ),
    }
    assert "makegood_alerts_failing 1.0" in metrics
    assert "makegood_alerts_failing_seconds 6" in metrics
    assert "shop.example" not in later.text + metrics
    assert (await _check_alerts(database)).verdict is Verdict.FAIL


async def test_refused_alerts_make_readiness_red_too(caller: Caller, database: Database) -> None:
    await say_alive(database, **ALIVE)
    await fail_one(caller, database, reason=AlertEnd.REFUSED)

    answer = await caller.client.get("/readyz")

    assert answer.json()["checks"]["alerts"]["status"] == "failed"
    assert "1 ended unsent in the last 15 minutes (SMTPDataError 550)" in answer.text
    assert "makegood_alerts_ended 1.0" in (await caller.client.get("/metrics")).text


@pytest.mark.parametrize("reason", [AlertEnd.ADDRESS_REMOVED, AlertEnd.INCIDENT_OVER])
async def test_alert_without_recipients_is_no_failure(
    caller: Caller, database: Database, reason: AlertEnd
) -> None:
    await say_alive(database, **ALIVE)
    await fail_one(caller, database, reason=reason)

    assert (await caller.client.get("/readyz")).status_code == 200


async def test_one_failing_address_makes_nothing_red_while_others_are_sent(
    caller: Caller, database: Database
) -> None:
    await say_alive(database, **ALIVE)
    await fail_one(caller, database)
    await age_failures(database, 3_600)
    async with database.transaction() as session:
        now = await database.now(session)
        await write_fact(session, ALERT_SENT_FACT, str(int(now.timestamp() * 1000)))

    answer = await caller.client.get("/readyz")

    assert answer.status_code == 200
    assert "1 fail, the first for 60 minutes" in answer.json()["checks"]["alerts"]["detail"]
    assert (await _check_alerts(database)).verdict is Verdict.WARN


def test_error_of_a_mail_server_is_on_one_line() -> None:
    judged = judge_alerts(FailingAlerts(1, 900.0, "x\r\n\x1b[31m" + "y" * 5_000, 0, None))

    assert judged.status is CheckStatus.FAILED
    assert judged.detail.isprintable()
    assert len(judged.detail) < 250


async def test_timeline_says_that_an_alert_is_not_tried_again(
    caller: Caller, database: Database
) -> None:
    event_id = await fail_one(caller, database, reason=AlertEnd.REFUSED)

    timeline = (await caller.ask("GET", f"/events/{event_id}")).json()["timeline"]

    (entry,) = [entry for entry in timeline if entry["kind"] == "alert_failed"]
    assert (entry["final"], entry["reason"], entry["error"]) == (
        True,
        "refused",
        "SMTPDataError 550",
    )
