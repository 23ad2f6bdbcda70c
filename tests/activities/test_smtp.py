"""The mail server's URL, and what is said to it: STARTTLS where it is required, the password only under it."""

import ssl

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from activities.letters import Letter
from activities.smtp import MailNotSent, MailServer, SmtpMailer, parse_mail_server
from tests.processes import free_ports


class Keeper:
    """Keeps whether a message came, and over what."""

    def __init__(self) -> None:
        self.came_over_tls: list[bool] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.came_over_tls.append(session.ssl is not None)
        return "250 OK"


def message() -> Letter:
    return Letter("a@example.com", "b@example.com", b"Subject: hello\r\n\r\nhello\r\n")


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail", MailServer("mail", 25, False, None, None, None)),
        ("smtp://u%40x:p%2Fw@mail:587?starttls=required", MailServer("mail", 587, False, True, "u@x", "p/w")),
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


async def test_starttls_and_password(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    authority, keeper, port = trustme.CA(), Keeper(), free_ports(1)[0]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusted = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))

    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, auth: object) -> AuthResult:
        is_right = isinstance(auth, LoginPassword) and (auth.login, auth.password) == (b"ops", b"secret")
        return AuthResult(success=is_right, handled=False)

    controller = Controller(keeper, hostname="localhost", port=port, tls_context=context, authenticator=check, auth_required=True)
    controller.start()
    try:
        await SmtpMailer(parse_mail_server(f"smtp://ops:secret@localhost:{port}?starttls=required"))(message())
        with pytest.raises(MailNotSent, match="SMTPAuthenticationError 535"):
            await SmtpMailer(parse_mail_server(f"smtp://ops:wrong@localhost:{port}?starttls=required"))(message())
    finally:
        controller.stop()

    assert keeper.came_over_tls == [True]


async def test_required_starttls_is_never_done_without() -> None:
    keeper, port = Keeper(), free_ports(1)[0]
    controller = Controller(keeper, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        with pytest.raises(MailNotSent):
            await SmtpMailer(parse_mail_server(f"smtp://127.0.0.1:{port}?starttls=required"))(message())
    finally:
        controller.stop()

    assert keeper.came_over_tls == []
