"""The built-in mailbox over real SMTP."""

import asyncio
import signal
import smtplib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path

import pytest

from cli.up.probes import greets_by_smtp
from store.maintenance.mailbox import list_mails, read_mail
from tests.support.processes import Program, free_ports, python, running
from tests.support.waiting import wait_until

SERVE = (
    "import sys; from pathlib import Path; from config.settings import Settings; from"
    " cli.up.mailbox_server import"
    " run_mailbox;sys.exit(run_mailbox(Settings(data_dir=Path(sys.argv[1]),"
    " smtp_port=int(sys.argv[2]))))"
)


@contextmanager
def mailbox(data_dir: Path) -> Iterator[tuple[Program, int]]:
    [port] = free_ports(1)
    with running(*python("-c", SERVE, str(data_dir), str(port))) as program:
        wait_until(lambda: asyncio.run(greets_by_smtp("127.0.0.1", port)), what=program.output)
        yield program, port


def test_mail_to_any_recipient_is_stored(tmp_path: Path) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = (
        "makegood@localhost",
        "ops@example.com",
        "It did not happen",
    )
    message.set_content("order-1001\n.a line with a dot\n")

    with mailbox(tmp_path) as (_, port), smtplib.SMTP("127.0.0.1", port, timeout=5) as client:
        client.send_message(message, to_addrs=["ops@example.com", "someone@elsewhere.example"])

        [summary] = list_mails(tmp_path / "mailbox")
        read = read_mail(tmp_path / "mailbox", summary.name)

    assert summary.subject == "It did not happen"
    assert read is not None
    assert read.text == "order-1001\r\n.a line with a dot\r\n"
    assert read.html is None


def test_every_accepted_concurrent_mail_is_stored(tmp_path: Path) -> None:
    def send(number: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
            client.sendmail("a@b.example", ["c@d.example"], f"Subject: {number}\r\n\r\nbody\r\n")

    with mailbox(tmp_path) as (_, port):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(send, range(40)))

        subjects = {summary.subject for summary in list_mails(tmp_path / "mailbox")}

    assert subjects == {str(number) for number in range(40)}


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with mailbox(data_dir) as (_, port), smtplib.SMTP("127.0.0.1", port, timeout=5) as client:
        client.sendmail("a@b.example", ["c@d.example"], "Subject: private\r\n\r\n")

    modes = {
        path.stat().st_mode & 0o077
        for path in (data_dir / "mailbox", *(data_dir / "mailbox").iterdir())
    }
    assert modes == {0}


def test_sigterm_ends_it_with_exit_code_0_while_a_client_is_connected(tmp_path: Path) -> None:
    with mailbox(tmp_path) as (program, port), smtplib.SMTP("127.0.0.1", port, timeout=5):
        program.process.send_signal(signal.SIGTERM)

        assert program.ended(seconds=5) == 0


def test_disk_that_cannot_be_written_is_a_temporary_refusal(tmp_path: Path) -> None:
    (tmp_path / "mailbox").write_text("a file where the directory should be")

    with (
        mailbox(tmp_path) as (_, port),
        smtplib.SMTP("127.0.0.1", port, timeout=5) as client,
        pytest.raises(smtplib.SMTPDataError) as caught,
    ):
        client.sendmail("a@b.example", ["c@d.example"], "Subject: x\r\n\r\n")

    assert caught.value.smtp_code == 452
