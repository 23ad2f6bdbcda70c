"""The mail check of `doctor` against real SMTP servers: the built-in mailbox, one with a password,
one that is not there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from pydantic import SecretStr

from cli.doctor.findings import Verdict
from cli.doctor.services import check_mail
from cli.up.mailbox_server import StoreEveryMail
from config.settings import Settings


@asynccontextmanager
async def serving(make: Callable[[], SMTP]) -> AsyncIterator[int]:
    """The port of an SMTP server that runs while the block does."""
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        server.close()


def with_password() -> SMTP:
    """A server that knows one password, and takes it in clear text."""

    def is_right(
        server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: object
    ) -> AuthResult:
        del server, session, envelope, mechanism
        return AuthResult(success=given == LoginPassword(b"robot", b"right"), handled=False)

    return SMTP(Sink(), authenticator=is_right, auth_require_tls=False)


def settings_with(url: str) -> Settings:
    return Settings(smtp_url=SecretStr(url))


async def test_built_in_mailbox_is_ok_and_gets_no_mail(tmp_path: Path) -> None:
    async with serving(lambda: SMTP(StoreEveryMail(tmp_path / "mailbox"))) as port:
        finding = await check_mail(Settings(smtp_port=port, smtp_url=None))

    assert finding.verdict is Verdict.OK
    assert not (tmp_path / "mailbox").exists()


@pytest.mark.parametrize(
    ("user", "query", "verdict", "expected"),
    [
        ("robot:right@", "", Verdict.WARN, "clear text"),
        ("robot:wrong@", "", Verdict.FAIL, "SMTPAuthenticationError"),
        ("robot:right@", "?starttls=required", Verdict.FAIL, "SMTPException"),
        ("", "", Verdict.OK, "answers"),
    ],
    ids=[
        "right password in clear text",
        "wrong password",
        "no TLS where it is required",
        "no password",
    ],
)
async def test_password_and_encryption_are_tried(
    user: str, query: str, verdict: Verdict, expected: str
) -> None:
    async with serving(with_password) as port:
        finding = await check_mail(settings_with(f"smtp://{user}127.0.0.1:{port}{query}"))

    assert finding.verdict is verdict, finding
    assert expected in finding.detail
    assert "right" not in finding.detail
    assert "wrong" not in finding.detail


async def test_missing_mail_server_fails() -> None:
    finding = await check_mail(settings_with("smtp://127.0.0.1:9"))

    assert finding.verdict is Verdict.FAIL
    assert finding.fix is not None
