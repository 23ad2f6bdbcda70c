"""Resolves a host name to addresses with the system's resolver, in a thread of its own."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address

from egress.policy import Address

Resolver = Callable[[str, int], Awaitable[tuple[Address, ...]]]


class NameNotResolved(Exception):
    """The name has no address, or its name server did not answer."""


async def resolve_name(host: str, port: int) -> tuple[Address, ...]:
    """Every address that the system's resolver knows for the name.

    It runs in a thread of its own: names of a silent name server would block the loop's few
    threads.

    Raises:
        NameNotResolved: it knows none.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[Address, ...]] = loop.create_future()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found_addresses: tuple[Address, ...] = tuple(
                dict.fromkeys(ip_address(str(entry[4][0])) for entry in found)
            )
        except (
            OSError,
            ValueError,
        ):  # a UnicodeError is a ValueError, and so is an address with a zone
            found_addresses = ()
        # The loop may have ended meanwhile; then nothing waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(
                lambda: None if answer.done() else answer.set_result(found_addresses)
            )

    threading.Thread(target=look_up, name="name-look-up", daemon=True).start()
    addresses = await answer
    if not addresses:
        raise NameNotResolved
    return addresses
