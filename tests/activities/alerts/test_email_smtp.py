"""The SMTP URL and the exchange: STARTTLS where required, and the password only over TLS."""

import asyncio
import ssl
import time

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from activities.alerts.channels import AlertNotDelivered
from activities.alerts.email_format import OutgoingMail
from activities.alerts.email_smtp import (
    MailServer,
    SmtpMailer,
    is_permanent,
    parse_mail_server,
)
from tests.support.processes import free_ports


class Recorder:
    """Records whether a message arrived, and over which connection."""

    def __init__(self) -> None:
        self.came_over_tls: list[bool] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.came_over_tls.append(session.ssl is not None)
        return "250 OK"


def message() -> OutgoingMail:
    return OutgoingMail("a@example.com", "b@example.com", b"Subject: hello\r\n\r\nhello\r\n")


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail", MailServer("mail", 25, False, None, None, None)),
        (
            "smtp://u%40x:p%2Fw@mail:587?starttls=required",
            MailServer("mail", 587, False, True, "u@x", "p/w"),
        ),
        ("smtp://mail:2525?starttls=never", MailServer("mail", 2525, False, False, None, None)),
        ("smtps://u:p@mail", MailServer("mail", 465, True, False, "u", "p")),
    ],
    ids=["plain", "required", "never", "implicit"],
)
def test_url_names_the_server(url: str, server: MailServer) -> None:
    assert parse_mail_server(url) == server


@pytest.mark.parametrize("url", ["http://mail", "smtp://", "smtp://u:secret@mail?starttls=maybe"])
def test_other_urls_are_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_mail_server(url)

    assert "secret" not in str(refusal.value)


async def test_starttls_and_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    authority, keeper, port = trustme.CA(), Recorder(), free_ports(1)[0]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusted = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))

    def check(
        server: SMTP, session: Session, envelope: Envelope, mechanism: str, auth: object
    ) -> AuthResult:
        is_right = isinstance(auth, LoginPassword) and (auth.login, auth.password) == (
            b"ops",
            b"secret",
        )
        return AuthResult(success=is_right, handled=False)

    controller = Controller(
        keeper,
        hostname="localhost",
        port=port,
        tls_context=context,
        authenticator=check,
        auth_required=True,
    )
    controller.start()
    try:
        await SmtpMailer(
            parse_mail_server(f"smtp://ops:secret@localhost:{port}?starttls=required")
        )(message())
        with pytest.raises(AlertNotDelivered, match="SMTPAuthenticationError 535"):
            await SmtpMailer(
                parse_mail_server(f"smtp://ops:wrong@localhost:{port}?starttls=required")
            )(message())
    finally:
        controller.stop()

    assert keeper.came_over_tls == [True]


async def test_required_starttls_is_never_done_without() -> None:
    keeper, port = Recorder(), free_ports(1)[0]
    controller = Controller(keeper, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        with pytest.raises(AlertNotDelivered):
            await SmtpMailer(parse_mail_server(f"smtp://127.0.0.1:{port}?starttls=required"))(
                message()
            )
    finally:
        controller.stop()

    assert keeper.came_over_tls == []


@pytest.mark.parametrize(
    ("code", "message", "is_final"),
    [
        (550, "5.1.1 <x@y>: no such user", True),
        (550, "no such user", True),
        (553, "5.1.3 bad address", True),
        (554, "5.7.1 Relay access denied", True),
        (551, "5.1.6 moved", True),
        (552, "5.2.2 mailbox full", False),
        (550, "4.2.1 says for good, means for now", False),
        (554, "5.3.2 system not accepting messages", False),
        (530, "5.7.0 Must issue a STARTTLS command first", False),
        (535, "5.7.8 bad credentials", False),
        (503, "5.5.1 bad sequence", False),
        (451, "4.7.1 greylisted", False),
        (421, "4.3.2 closing", False),
        (450, "mailbox busy", False),
    ],
)
def test_codes_decide_whether_a_refusal_is_permanent(
    code: int, message: str, is_final: bool
) -> None:
    assert is_permanent(code, message) is is_final


async def test_dripping_server_is_abandoned_at_the_deadline_of_the_whole_exchange() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"220-still here\r\n")
            await asyncio.sleep(0.05)
        writer.close()
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    began = time.monotonic()

    with pytest.raises(AlertNotDelivered, match="TimeoutError"):
        await SmtpMailer(parse_mail_server(url), exchange_seconds=0.5)(
            OutgoingMail("a@b.example", "c@d.example", b"x")
        )

    assert time.monotonic() - began < 5
    await ended.wait()
    server.close()


async def test_reply_to_quit_does_not_affect_an_accepted_mail() -> None:
    keeper = Recorder()

    class Rude(SMTP):
        async def smtp_QUIT(self, arg: str) -> None:
            await asyncio.Event().wait()

    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: Rude(keeper, enable_SMTPUTF8=False), "127.0.0.1", 0
    )
    url = f"smtp://127.0.0.1:{listening.sockets[0].getsockname()[1]}"

    await SmtpMailer(parse_mail_server(url))(
        OutgoingMail("a@b.example", "c@d.example", b"Subject: x\r\n\r\n")
    )

    assert keeper.came_over_tls == [False]
    listening.close()
