"""What a worker is built of."""

from domain.alerts import AlertChannel
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.workflows.world import worker_parts
from worker.build import alert_channels


def test_worker_sends_alerts_by_every_channel(database: Database, sealer: Sealer) -> None:
    parts = worker_parts(database, sealer, "smtp://127.0.0.1:1")

    assert set(alert_channels(parts)) == set(AlertChannel)
