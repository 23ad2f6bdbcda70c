"""An SMTP server in this process with given replies per step and address."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.activities.read_mails import read_by_hand
from tests.support.processes import free_ports


class Server:
    """A handler with given replies per step and address. It accepts everything else."""

    def __init__(self, **answers: dict[str, str]) -> None:
        """`mail`, `rcpt` and `data` map addresses to replies; '' is any address."""
        self._answers = answers
        self.taken: list[bytes] = []

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self._answer("mail", address) or "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if answer := self._answer("rcpt", address):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        if answer := self._answer("data", envelope.rcpt_tos[0]):
            return answer
        self.taken.append(envelope.content)
        return "250 OK"

    @property
    def recipients(self) -> list[str]:
        return [read_by_hand(content)["To"] for content in self.taken]

    def _answer(self, step: str, address: str) -> str | None:
        answers = self._answers.get(step, {})
        return answers.get(address) or answers.get("")


@contextmanager
def serving(server: Server) -> Iterator[str]:
    port = free_ports(1)[0]
    controller = Controller(server, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield f"smtp://127.0.0.1:{port}"
    finally:
        controller.stop()
