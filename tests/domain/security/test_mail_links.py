"""Tokens of links in mails: one spelling, one purpose, one project."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import DestinationId, IncidentId, ProjectId
from domain.security.mail_links import (
    AcknowledgeLink,
    LinkPurpose,
    MailLink,
    UnsubscribeLink,
    is_signed,
    link_token,
    read_token,
)

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
PROJECT, HEX = ProjectId(f"prj_{'1' * 32}"), "2" * 32
LINKS = {
    LinkPurpose.UNSUBSCRIBE: UnsubscribeLink(PROJECT, DestinationId(f"dst_{HEX}")),
    LinkPurpose.ACKNOWLEDGE: AcknowledgeLink(PROJECT, IncidentId(f"inc_{HEX}"), 7, 1_800_000_000),
}


@pytest.mark.parametrize(("purpose", "link"), LINKS.items())
def test_token_is_read_back_and_verified(purpose: LinkPurpose, link: MailLink) -> None:
    signed = read_token(purpose, link_token(link, data_key=KEY))

    assert signed is not None
    assert signed.link == link
    assert is_signed(signed, data_key=KEY)
    assert not is_signed(signed, data_key=OTHER_KEY)


@pytest.mark.parametrize(("purpose", "link"), LINKS.items())
def test_token_is_good_for_one_purpose_and_has_one_spelling(
    purpose: LinkPurpose, link: MailLink
) -> None:
    token = link_token(link, data_key=KEY)
    (other,) = set(LinkPurpose) - {purpose}

    assert read_token(other, token) is None
    for changed in (f"{token} ", f" {token}", token.upper(), f"{token}=", f"{token}\n", token[1:]):
        assert read_token(purpose, changed) is None
    zeros = token.replace(".7.", ".07.")
    assert zeros == token or read_token(purpose, zeros) is None


@given(text=st.text(), purpose=st.sampled_from(LinkPurpose))
def test_any_text_is_a_token_or_none(text: str, purpose: LinkPurpose) -> None:
    signed = read_token(purpose, text)

    assert signed is None or not is_signed(signed, data_key=KEY)
