"""Opens loopback for the repair URLs of test projects, when `makegood up` itself is on loopback.

So an app on a developer's machine can be called. A `MAKEGOOD_EGRESS_ALLOW` that is set, also to an
empty text, decides instead. Live projects are never affected.
"""

import os
from ipaddress import ip_address, ip_network

from config.settings import Settings

LOOPBACK_RANGES = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def with_open_loopback(settings: Settings) -> Settings:
    """The settings of `makegood up`, with loopback open for test projects if it listens there."""
    is_decided = "MAKEGOOD_EGRESS_ALLOW" in os.environ or bool(settings.egress_allow_test)
    if is_decided or not _is_loopback(settings.host):
        return settings
    return settings.model_copy(update={"egress_allow_test": LOOPBACK_RANGES})


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
