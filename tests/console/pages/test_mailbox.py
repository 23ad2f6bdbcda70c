"""The pages of the built-in mailbox: mails as text and in a sandboxed frame."""

from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

from store.maintenance.mailbox import store_mail
from tests.console.conftest import Visitor


def mail(directory: Path, html: str = "<p>Pay & <b>play</b></p>") -> str:
    """Store a mail in the mailbox. Returns its name."""
    message = EmailMessage()
    message["From"], message["To"] = "Makegood <makegood@localhost>", "ops@shop.example"
    message["Subject"], message["Message-ID"] = "order-1: <not applied>", "<inc_1.opened@makegood>"
    message.set_content("order-1 was paid.\n")
    message.add_alternative(html, subtype="html")
    return store_mail(directory, bytes(message), received_at=datetime(2026, 11, 23, 12, tzinfo=UTC))


async def test_a_captured_mail_is_listed_and_shown(operator: Visitor, tmp_path: Path) -> None:
    name = mail(tmp_path / "mailbox")

    listed = (await operator.open("/mailbox")).text
    page = (await operator.open(f"/mailbox/{name}")).text

    assert f'href="/mailbox/{name}"' in listed
    assert "order-1: &lt;not applied&gt;" in listed
    assert "order-1 was paid." in page
    assert f'src="/mailbox/{name}/html"' in page


async def test_an_empty_mailbox_explains_itself(operator: Visitor) -> None:
    assert "No emails yet" in (await operator.open("/mailbox")).text


async def test_the_html_of_a_mail_can_run_nothing(operator: Visitor, tmp_path: Path) -> None:
    name = mail(tmp_path / "mailbox", html="<script>alert(1)</script>")

    page, frame = (
        await operator.open(f"/mailbox/{name}"),
        await operator.open(f"/mailbox/{name}/html"),
    )

    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in page.text
    assert frame.headers["content-security-policy"].startswith("sandbox allow-popups")
    assert "default-src 'none'" in frame.headers["content-security-policy"]
    assert frame.headers["x-frame-options"] == "SAMEORIGIN"
    assert "<script>" not in page.text


async def test_a_name_does_not_lead_out_of_the_mailbox(operator: Visitor, tmp_path: Path) -> None:
    (tmp_path / "secret.eml").write_text("Subject: secret\n\nsecret")

    for name in ("..%2Fsecret.eml", "secret.eml", "%2E%2E%2Fsecret.eml"):
        assert (await operator.open(f"/mailbox/{name}")).status_code == 404
