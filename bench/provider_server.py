"""A payment provider that lists events of the last hours: the tests' provider, as a process.

    python -m bench.provider_server FIRST EVENTS

It has so many events from the number `FIRST` on, evenly spread over the hour that began two hours
ago. It prints its address, and runs until it is ended.
"""

import sys
import threading
from datetime import UTC, datetime, timedelta

from tests.support.provider import Asked, providing, stripe_event

BEGAN = timedelta(hours=2)
HOUR = timedelta(hours=1)


class Forgotten(list[Asked]):
    """The requests, which nobody reads."""

    def append(self, _: Asked) -> None:
        """Keep nothing."""


def main() -> None:
    first, events = int(sys.argv[1]), int(sys.argv[2])
    began_at = datetime.now(UTC) - BEGAN
    with providing() as provider:
        provider.asked = Forgotten()
        provider.add_events(
            *(stripe_event(first + n, began_at + HOUR * n / events) for n in range(events))
        )
        print(f"provider_ready {provider.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
