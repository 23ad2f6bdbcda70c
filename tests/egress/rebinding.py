"""What `tests.egress.test_rebinding` runs in a process of its own: save and call URLs in a network
whose name server lies.

Prints one JSON object: by name, what saving and each call came to, and how often the name server
was asked; and where connections arrived. The endpoint listens on every address of this network, so
that a callback which gets past
the guard is seen to arrive.
"""

import asyncio
import json
import ssl
import sys
from typing import Any

import trustme

from activities.callback.transport import OutgoingRequest, exchange
from domain.errors import FieldError, ValidationFailed
from egress.resolver import resolve_name
from egress.transport import judge_url
from operations.inputs import judged_url
from tests.egress import own_network
from tests.egress.name_server import Name, NameServer
from tests.support.waiting import wait_until_async

PUBLIC = "93.184.216.34"
NO_NAMESPACES = 77
MANY = tuple(f"93.184.{third}.{fourth}" for third in range(2) for fourth in range(1, 41))
NAMES = {
    "public.example": Name(a=((PUBLIC,),)),
    "private.example": Name(a=(("10.0.0.1",),)),
    "loopback.example": Name(a=(("127.0.0.1",),)),
    "metadata.example": Name(a=(("169.254.169.254",),)),
    "mixed.example": Name(a=((PUBLIC, "10.0.0.7"),)),
    "mixed-six.example": Name(a=((PUBLIC,),), aaaa=("fd00::1",)),
    "mapped.example": Name(aaaa=("::ffff:127.0.0.1",)),
    "translated.example": Name(aaaa=("64:ff9b::7f00:1",)),
    "alias.example": Name(alias="inner.example"),
    "inner.example": Name(a=(("127.0.0.1",),)),
    "many.example": Name(a=((*MANY, "127.0.0.1"),)),
    "missing.example": Name(code="NXDOMAIN"),
    "empty.example": Name(),
    "broken.example": Name(code="SERVFAIL"),
    "rebinding.example": Name(a=((PUBLIC,), ("127.0.0.1",))),
    # Public when it is saved, private at the first call, public again at the second.
    "flipping.example": Name(a=((PUBLIC,), ("127.0.0.1",), (PUBLIC,))),
}
CALLS = {"flipping.example": 2}


async def main() -> None:
    server, authority, arrived = NameServer(NAMES), trustme.CA(), list[str]()
    await server.listen("127.0.0.1", 53)
    await _endpoint(authority, arrived)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    found: dict[str, Any] = {}
    for name in NAMES:
        url = f"https://{name}/repair"
        try:
            await judged_url(url, livemode=True, judge=_judge)
            errors: tuple[FieldError, ...] = ()
        except ValidationFailed as refusal:
            errors = refusal.errors
        request = OutgoingRequest(url=url, headers=(), body=b"{}")
        outcomes = [
            await exchange(request, allow=(), timeout_seconds=10, ssl_context=trusting)
            for _ in range(CALLS.get(name, 1))
        ]
        found[name] = {
            "saved": not errors,
            "messages": [error.message for error in errors],
            "calls": [[o.status, o.error_class, o.log_reason] for o in outcomes],
            "milliseconds": [o.duration_ms for o in outcomes if o.error_class],
            "asked": server.asked[name, "A"],
        }
    silent = await _silent(server)
    print(json.dumps({"names": found, "arrived": arrived, "tcp": server.tcp, "silent": silent}))


async def _judge(url: str, *, livemode: bool) -> str:
    return await judge_url(url, allow=(), refusal_step_seconds=0)


async def _endpoint(authority: trustme.CA, arrived: list[str]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(writer.get_extra_info("sockname")[0])
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*NAMES).configure_cert(context)
    await asyncio.start_server(serve, "0.0.0.0", 443, ssl=context)


async def _silent(server: NameServer) -> dict[str, Any]:
    """What another name is answered while 20 look-ups wait for a name server that says nothing, and
    how many still do then.
    """
    for number in range(20):
        NAMES[f"silent-{number}.example"] = Name(code=None)
    waiting = [
        asyncio.create_task(resolve_name(f"silent-{number}.example", 443)) for number in range(20)
    ]
    await wait_until_async(
        lambda: all(server.asked[f"silent-{number}.example", "A"] for number in range(20))
    )
    answered = await resolve_name("public.example", 443)
    still_waiting = sum(not task.done() for task in waiting)
    for task in waiting:
        task.cancel()
    return {"answered": [str(address) for address in answered], "still_waiting": still_waiting}


if __name__ == "__main__":
    try:
        own_network.enter(PUBLIC)
    except OSError as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(NO_NAMESPACES)
    asyncio.run(main())
