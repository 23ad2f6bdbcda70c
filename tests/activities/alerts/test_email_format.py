"""A mail has exactly the header fields that Makegood writes, and every text can be written."""

import re
from base64 import b64decode
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from activities.alerts.email_format import OutgoingMail, compose, encoded
from activities.alerts.email_message import SUBJECT_CHARACTERS, MailWriter
from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from activities.alerts.message import write_message
from domain.incidents import AlertKind
from domain.values.text import one_line
from store.people.email_addresses import AddressRefused
from tests.activities.alerts.by_mail import mail_of, plain_mail_of
from tests.activities.read_mails import FIELDS, NASTY, alert_with, read_by_hand
from tests.support.given import START
from tests.workflows.smtp_server import running_mail_server

OPENED = [
    "Subject",
    "From",
    "To",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
]
ANSWER = [*OPENED[:5], "In-Reply-To", "References", *OPENED[5:]]
# Mails of other kinds begin a thread of their own.
ANSWERS = {
    AlertKind.INCIDENT_ACKNOWLEDGED,
    AlertKind.GROUP_GREW,
    AlertKind.REPAIR_FAILED,
    AlertKind.INCIDENT_RESOLVED,
    AlertKind.INCIDENT_ASSIGNED,
    AlertKind.DESTINATION_FAILING,
}
MIME = ["MIME-Version", "Content-Type"]
# Every code point, including lone surrogates.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300) | st.sampled_from(NASTY)
CONTROLS = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def judge(letter: OutgoingMail, names: list[str]) -> EmailMessage:
    """The mail as the standard library parses it, after both parsers found exactly these fields."""
    by_hand = read_by_hand(letter.content)
    mail = message_from_bytes(letter.content, policy=policy.default)
    assert isinstance(mail, EmailMessage)

    assert by_hand.names == [*names, *MIME]
    assert mail.keys() == by_hand.names
    assert message_from_bytes(letter.content, policy=policy.compat32).keys() == by_hand.names
    assert by_hand["To"] == letter.recipient
    assert by_hand["From"] == "Makegood <makegood@example.com>"
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    assert [part.defects for part in mail.walk()] == [[], [], []]
    return mail


def decoded_subject(value: str) -> str:
    """Decode RFC 2047 without a library: base64 words of UTF-8, one on each line, or plain text."""
    words = re.findall(r"=\?utf-8\?B\?([A-Za-z0-9+/=]*)\?=", value)
    if not words:
        return value
    assert value == "\n ".join(f"=?utf-8?B?{word}?=" for word in words)
    assert max(len(line) for line in f"Subject: {value}".split("\n")) <= 76
    return "".join(b64decode(word).decode("utf-8") for word in words)


@settings(max_examples=150, deadline=None)
@example(text=NASTY[0], field="internal_reference")
@given(text=ANY_TEXT, field=st.sampled_from(FIELDS))
def test_any_text_in_any_field_makes_a_mail_with_our_fields_alone(text: str, field: str) -> None:
    alert = alert_with(**{field: text})

    letter = mail_of(alert, at=START)

    mail = judge(letter, OPENED)
    wanted = write_message(alert, at=START, public_url="https://makegood.example.com").summary
    assert len(wanted) <= SUBJECT_CHARACTERS
    assert decoded_subject(read_by_hand(letter.content)["Subject"]) == wanted
    for subtype in ("plain", "html"):
        part = mail.get_body((subtype,))
        assert part is not None
        content = part.get_content().replace("\r\n", "\n")
        assert not CONTROLS.search(content)
        assert "https://makegood.example.com/events/evt_018f" in content


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_facts_stay_on_their_own_lines(text: str) -> None:
    texts = {field: text for field in FIELDS}

    mail = judge(mail_of(alert_with(**texts), at=START), OPENED)

    part = mail.get_body(("plain",))
    assert part is not None
    names = re.findall(r"^([A-Z][A-Za-z ]+?) {2,}", part.get_content(), re.MULTILINE)
    first = ("Reference", "Error", "Open since")
    details = ("Reason", "Event", "Occurred", "Deadline", "Opened", "Provider ID")
    assert names == [*first, *details, "Event ID", "Incident ID"]


async def test_every_nasty_text_goes_through_a_real_server_as_it_was_written() -> None:
    with running_mail_server() as (post, url):
        mailer = SmtpMailer(parse_mail_server(url))
        letters = [
            mail_of(alert_with(**{field: text}), at=START) for text in NASTY for field in FIELDS[:3]
        ]
        for letter in letters:
            await mailer(letter)

    assert [raw.rstrip(b"\r\n") for raw in post.raw] == [
        letter.content.rstrip(b"\r\n") for letter in letters
    ]
    assert [mail.keys() for mail in post.mails] == [[*OPENED, *MIME]] * len(letters)
    assert all(mail["Bcc"] is None for mail in post.mails)


@pytest.mark.parametrize("kind", list(AlertKind))
def test_plainest_form_has_ids_and_nothing_from_outside(kind: AlertKind) -> None:
    alert = alert_with(kind, **dict.fromkeys(FIELDS, "FROM OUTSIDE"))

    mail = judge(
        plain_mail_of(alert, at=START),
        ANSWER if kind in ANSWERS else OPENED,
    )

    assert mail["Subject"].endswith(": evt_018f")
    for subtype in ("plain", "html"):
        part = mail.get_body((subtype,))
        assert part is not None
        assert "FROM OUTSIDE" not in part.get_content()
        assert "inc_018f" in part.get_content()
        assert "https://makegood.example.com/events/evt_018f" in part.get_content()


def test_values_are_text_and_not_templates_or_markup() -> None:
    alert = alert_with(internal_reference="{{ 7 * 7 }}", error_message="<b>{% for x in y %}</b>")

    mail = judge(mail_of(alert, at=START), OPENED)

    plain, html = (mail.get_body((subtype,)) for subtype in ("plain", "html"))
    assert plain is not None
    assert html is not None
    assert "Reference     {{ 7 * 7 }}\r\n" in plain.get_content()
    assert "&lt;b&gt;{% for x in y %}&lt;/b&gt;" in html.get_content()


@pytest.mark.parametrize(
    "destination",
    [
        "a@b.example\r\nBcc: x@example.net",
        "a b@c.example",
        '"a b"@c.example',
        "é@c.example",
        "a@b@c.example",
        "",
        "=?utf-8?q?a?=@b.example",
    ],
)
def test_odd_stored_address_is_never_written(destination: str) -> None:
    with pytest.raises(AddressRefused):
        mail_of(alert_with(destination=destination), at=START)


def test_address_with_an_international_domain_is_written_as_its_a_label() -> None:
    writer = MailWriter(mail_from="makegood@bücher.example")

    letter = mail_of(alert_with(destination="ops@straße.example"), at=START, writer=writer)

    assert (letter.sender, letter.recipient) == (
        "makegood@xn--bcher-kva.example",
        "ops@xn--strae-oqa.example",
    )
    by_hand = read_by_hand(letter.content)
    assert by_hand["To"] == "ops@xn--strae-oqa.example"
    assert by_hand["Message-ID"].endswith("@xn--bcher-kva.example>")


@pytest.mark.parametrize("name", ["Bcc: x", "", "Sub\r\nject", "Sujét"])
def test_name_that_is_no_fields_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        compose(((name, "x"),), text="", html="")


@pytest.mark.parametrize("value", ["a\nBcc: x", "a\r\n\r\nbody", "é", "", "a\0"])
def test_value_that_was_not_encoded_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="not a value"):
        compose((("Subject", value),), text="", html="")


def test_short_ascii_stays_as_it_is() -> None:
    assert encoded("Incident open: order 1", longest=200) == "Incident open: order 1"


@given(text=ANY_TEXT, longest=st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_encoded_text_decodes_to_its_one_line(text: str, longest: int) -> None:
    value = encoded(text, longest=longest)

    assert value.isascii()
    assert decoded_subject(value.replace("\r\n", "\n")) == one_line(text, longest=longest)


def test_date_is_in_utc() -> None:
    letter = mail_of(alert_with(), at=datetime(2026, 11, 23, 12, 0, tzinfo=UTC))

    assert read_by_hand(letter.content)["Date"] == "Mon, 23 Nov 2026 12:00:00 +0000"
