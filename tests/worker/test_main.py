"""What the settings make of a worker."""

from pathlib import Path

from config.settings import Settings
from domain.alerts import AlertChannel
from worker.main import alert_channels


def test_worker_sends_alerts_by_every_channel(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)

    assert set(alert_channels(settings)) == set(AlertChannel)
