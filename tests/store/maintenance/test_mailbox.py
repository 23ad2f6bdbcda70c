"""The mailbox's files:

written atomically, the newest kept, and never read outside the directory.
"""

from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from store.maintenance.mailbox import list_mails, read_mail, store_mail

ARRIVED_AT = datetime(2026, 11, 23, 11, 13, 55, 123456, tzinfo=UTC)


def mail(subject: str = "Zahlung ohne Wirkung – order-1001") -> bytes:
    message = EmailMessage()
    message["From"] = "Makegood <makegood@localhost>"
    message["To"] = "ops@example.com"
    message["Subject"] = subject
    message["Message-ID"] = "<incident-1@localhost>"
    message.set_content("Plain – text\n")
    message.add_alternative("<p>H&auml;tte</p>\n", subtype="html")
    message.add_attachment(b"attached", maintype="text", subtype="plain", filename="attached.txt")
    return message.as_bytes()


def test_mail_is_read_back_with_both_parts(tmp_path: Path) -> None:
    name = store_mail(tmp_path, mail(), received_at=ARRIVED_AT)

    read = read_mail(tmp_path, name)

    assert read is not None
    assert read.summary.received_at == ARRIVED_AT
    assert read.summary.sender == "Makegood <makegood@localhost>"
    assert read.summary.recipients == "ops@example.com"
    assert read.summary.subject == "Zahlung ohne Wirkung – order-1001"
    assert read.message_id == "<incident-1@localhost>"
    assert read.text == "Plain – text\n"
    assert read.html == "<p>H&auml;tte</p>\n"


def test_list_is_newest_first_and_limited(tmp_path: Path) -> None:
    for minute in range(5):
        store_mail(
            tmp_path, mail(f"mail {minute}"), received_at=ARRIVED_AT + timedelta(minutes=minute)
        )

    subjects = [summary.subject for summary in list_mails(tmp_path, limit=3)]

    assert subjects == ["mail 4", "mail 3", "mail 2"]


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for minute in range(5):
        received_at = ARRIVED_AT + timedelta(minutes=minute)
        store_mail(tmp_path, mail(f"mail {minute}"), received_at=received_at, newest_kept=3)

    assert [summary.subject for summary in list_mails(tmp_path)] == ["mail 4", "mail 3", "mail 2"]
    assert len(list(tmp_path.iterdir())) == 3


def test_unfinished_and_foreign_files_are_not_listed(tmp_path: Path) -> None:
    store_mail(tmp_path, mail("ours"), received_at=ARRIVED_AT)
    (tmp_path / "20261123T111355123456Z-00000000.eml.new").write_bytes(b"half")
    (tmp_path / "notes.eml").write_bytes(b"Subject: foreign\n\n")

    assert [summary.subject for summary in list_mails(tmp_path)] == ["ours"]


def test_no_directory_is_no_mail(tmp_path: Path) -> None:
    assert list_mails(tmp_path / "absent") == ()


@pytest.mark.parametrize(
    "name",
    [
        "../secret_key",
        "..",
        "",
        "/etc/passwd",
        "x.eml",
        "20261123T111355123456Z-00000000.eml/../../secret_key",
        "a\0b",
    ],
)
def test_mailbox_name_of_another_form_reads_nothing(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "mailbox"
    directory.mkdir()
    (tmp_path / "secret_key").write_text("secret")

    assert read_mail(directory, name) is None


def test_link_to_another_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("Subject: secret\n\nsecret")
    directory = tmp_path / "mailbox"
    directory.mkdir()
    name = "20261123T111355123456Z-00000000.eml"
    (directory / name).symlink_to(tmp_path / "secret_key")

    assert read_mail(directory, name) is None
    assert list_mails(directory) == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00nothing like a mail",
        b"Subject: =?nonsense?Q?x?=\nContent-Type: text/plain; charset=nonsense\n\n\xe4\n",
        b"Subject: \xe4\xf6\nFrom: =?utf-8?B?!!?=\n\nbody",
        (
            b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type:"
            b" text/html\nContent-Transfer-Encoding: base64\n\n*"
        ),
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" * 3_000,
    ],
    ids=["empty", "binary", "unknown charsets", "raw bytes in headers", "broken base64", "nested"],
)
def test_broken_mail_is_shown_as_far_as_it_can_be_read(tmp_path: Path, content: bytes) -> None:
    name = store_mail(tmp_path, content, received_at=ARRIVED_AT)

    assert read_mail(tmp_path, name) is not None
    assert len(list_mails(tmp_path)) == 1
