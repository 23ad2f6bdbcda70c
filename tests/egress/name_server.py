"""A DNS server of the tests' own, over UDP and TCP:

what it says of a name may change from question to question.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

LONGEST_DATAGRAM = 512


@dataclass(slots=True)
class Name:
    """What is said of one name. `a` holds the addresses for the first question of it, the second,
    …; the last for ever.

    `alias` is another name, asked in its place. `code` is what every question is answered with;
    None is silence.
    """

    a: tuple[tuple[str, ...], ...] = ((),)
    aaaa: tuple[str, ...] = ()
    alias: str | None = None
    code: str | None = "NOERROR"
    answers: Iterator[tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.answers = chain(self.a, repeat(self.a[-1]))


class NameServer(asyncio.DatagramProtocol):
    """Answers for the names it is given, and knows no other.

    `asked` counts questions by name and type, `tcp` those over TCP.
    """

    def __init__(self, names: dict[str, Name]) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        self.tcp = 0
        self._names = names
        self._transport: asyncio.DatagramTransport | None = None

    async def listen(self, host: str, port: int) -> None:
        """Serve until the process ends."""
        await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self, local_addr=(host, port)
        )
        await asyncio.start_server(self._serve, host, port)

    # Any: asyncio's own datagram transport is no `DatagramTransport`
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = dns.message.from_wire(data)
        answer = self._answer(question)
        if answer is None or self._transport is None:
            return
        wire = answer.to_wire(max_size=65_535)
        if len(wire) > LONGEST_DATAGRAM:
            cut = dns.message.make_response(question)
            cut.flags |= dns.flags.TC | dns.flags.RA
            wire = cut.to_wire()
        self._transport.sendto(wire, addr)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(EOFError):
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                answer = self._answer(dns.message.from_wire(await reader.readexactly(length)))
                self.tcp += 1
                if answer is not None:
                    wire = answer.to_wire(max_size=65_535)
                    writer.write(len(wire).to_bytes(2, "big") + wire)
        writer.close()

    def _answer(self, question: dns.message.Message) -> dns.message.Message | None:
        asked = question.question[0]
        text, kind = (
            asked.name.to_text(omit_final_dot=True).lower(),
            dns.rdatatype.to_text(asked.rdtype),
        )
        self.asked[text, kind] += 1
        known = self._names.get(text, Name(code="NXDOMAIN"))
        if known.code is None:
            return None
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        answer.set_rcode(dns.rcode.from_text(known.code))
        if known.alias is not None:
            answer.answer.append(
                dns.rrset.from_text(asked.name, 0, "IN", "CNAME", f"{known.alias}.")
            )
            text = known.alias
            known = self._names[text]
        addresses = next(known.answers) if kind == "A" else known.aaaa if kind == "AAAA" else ()
        if addresses:
            answer.answer.append(dns.rrset.from_text(f"{text}.", 0, "IN", kind, *addresses))
        return answer
