"""An instance of `makegood up` on free ports."""

import urllib.request
from pathlib import Path

from tests.support.processes import free_ports


class Instance:
    """The data directory and ports of one instance, and the environment that sets them."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.api, self.temporal, self.temporal_ui, self.smtp = free_ports(4)
        self.environment = {
            "MAKEGOOD_DATA_DIR": str(data_dir),
            "MAKEGOOD_PORT": str(self.api),
            "MAKEGOOD_TEMPORAL_PORT": str(self.temporal),
            "MAKEGOOD_TEMPORAL_UI_PORT": str(self.temporal_ui),
            "MAKEGOOD_SMTP_PORT": str(self.smtp),
        }


def status(url: str) -> int:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return int(answer.status)
