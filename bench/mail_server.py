"""An SMTP server that accepts every mail and records the time and the incident.

    python -m bench.mail_server PORT FILE

It is a real server (aiosmtpd) in a process of its own, so that its work is not the worker's.
"""

import asyncio
import re
import sys
import time
from email import message_from_bytes, policy
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

INCIDENT = re.compile(r"inc_[0-9a-f]{32}")


class RecordingHandler:
    """The handler that aiosmtpd calls for each mail."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="ascii", buffering=1)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Record the mail, then accept it."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        at = time.time()
        found = INCIDENT.search(content.decode(errors="replace")) or INCIDENT.search(_text(content))
        self._file.write(f"{at:.4f} {found.group() if found else 'none'}\n")
        return "250 Recorded"


def _text(content: bytes) -> str:
    part = message_from_bytes(content, policy=policy.default).get_body(("plain",))
    return "" if part is None else str(part.get_content())


async def serve(port: int, path: Path) -> None:
    handler = RecordingHandler(path)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(handler), "127.0.0.1", port
    )
    print("mail_server_ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
