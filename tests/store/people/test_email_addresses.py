"""One form of an address:

what every mail server takes, made when it is saved, compared and sent in that form.
"""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text as sql

from domain.errors import ValidationFailed
from domain.users import Role
from store.db.database import Database
from store.people import invitations, users
from store.people.email_addresses import (
    AddressRefused,
    canonical_address,
    same_address,
    sign_in_address,
)
from tests.domain.values.test_text import ANY_TEXT
from tests.support.given import START, Story

LONGEST = f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 61}"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("ops@shop.example", "ops@shop.example"),
        ("Ops+Tag@Shop.Example", "Ops+Tag@shop.example"),
        ("ops@bücher.example", "ops@xn--bcher-kva.example"),
        ("ops@BÜCHER.example", "ops@xn--bcher-kva.example"),
        ("ops@straße.example", "ops@xn--strae-oqa.example"),
        ("ops@例え.テスト", "ops@xn--r8jz45g.xn--zckzah"),
        ("ops@shop。example", "ops@shop.example"),
        ("ops@xn--bcher-kva.example", "ops@xn--bcher-kva.example"),
        ("makegood@localhost", "makegood@localhost"),
        ("ops@mail.local", "ops@mail.local"),
        (LONGEST, LONGEST),
    ],
)
def test_address_has_one_form(text: str, canonical: str) -> None:
    assert canonical_address(text) == canonical


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("jörg@shop.example", "ASCII"),
        ("a" * 65 + "@shop.example", "64 characters"),
        (LONGEST + "d", "e-mail address"),
        ('"a b"@shop.example', "e-mail address"),
        ("a b@shop.example", "e-mail address"),
        ("a(comment)@shop.example", "e-mail address"),
        ("Ops <ops@shop.example>", "e-mail address"),
        ("ops@shop.example, cto@shop.example", "e-mail address"),
        ("ops@[127.0.0.1]", "e-mail address"),
        ("ops@127.0.0.1", "e-mail address"),
        ("ops@shop..example", "e-mail address"),
        ("ops@shop.example.", "e-mail address"),
        (".ops@shop.example", "e-mail address"),
        ("ops.@shop.example", "e-mail address"),
        ("ops@-shop.example", "e-mail address"),
        ("ops@shop_1.example", "e-mail address"),
        ("ops@" + "b" * 64 + ".example", "e-mail address"),
        ("ops@shop.example\r\nBcc: x@example.net", "e-mail address"),
        ("ops@shop.example\u2028", "e-mail address"),
        ("ops\0@shop.example", "e-mail address"),
        ("ops@\ud800.example", "e-mail address"),
        ("=?utf-8?q?x?=@shop.example", "e-mail address"),
        ("ops", "e-mail address"),
        ("@shop.example", "e-mail address"),
        ("ops@", "e-mail address"),
        ("", "e-mail address"),
        ("a@" * 100_000, "e-mail address"),
    ],
)
def test_address_that_no_server_accepts_is_refused_and_not_repeated(text: str, why: str) -> None:
    with pytest.raises(AddressRefused, match=why) as refused:
        canonical_address(text)

    assert not text or text not in str(refused.value)


@settings(max_examples=300, deadline=None)
@given(text=ANY_TEXT | st.emails() | st.builds("{}@{}".format, ANY_TEXT, ANY_TEXT))
def test_form_is_stable_and_fits_a_header_and_a_command(text: str) -> None:
    try:
        address = canonical_address(text)
    except AddressRefused:
        return

    assert canonical_address(address) == address
    assert re.fullmatch(r"[!-~]+@[a-z0-9.-]+", address)
    assert not set(address) & set('<>(),;:\\"[] ')
    assert len(address) <= 254


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("ops@bücher.example", "ops@xn--bcher-kva.example", True),
        ("ops@Shop.example", "ops@shop.example", True),
        ("Ops@shop.example", "ops@shop.example", False),
        ("jörg@shop.example", "jörg@shop.example", True),
        ("jörg@shop.example", "jorg@shop.example", False),
    ],
)
def test_same_mailbox_is_known_in_either_spelling(one: str, other: str, is_same: bool) -> None:
    assert same_address(one, other) is is_same


async def test_person_is_found_and_signs_in_in_either_spelling_of_the_domain(
    database: Database,
) -> None:
    async with database.transaction() as session:
        made = await users.create_user(session, email="Nadia@bücher.example", now=START)
        await users.set_password(
            session,
            user_id=made.user_id,
            email="Nadia@bücher.example",
            password="long enough",
            now=START,
        )

    async with database.reading() as session:
        for spelling in ("nadia@bücher.example", "nadia@xn--bcher-kva.example"):
            found = await users.check_password(session, email=spelling, password="long enough")
            assert found is not None
            assert found.email == "nadia@xn--bcher-kva.example"
            assert (await users.find_user(session, spelling)).user_id == made.user_id


async def test_person_stored_by_an_earlier_version_still_signs_in(database: Database) -> None:
    async with database.transaction() as session:
        made = await users.create_user(session, email="nadia@shop.example", now=START)
        await users.set_password(
            session,
            user_id=made.user_id,
            email="nadia@shop.example",
            password="long enough",
            now=START,
        )
        await session.execute(sql("UPDATE users SET email = 'jörg@bücher.example'"))

    async with database.reading() as session:
        assert (
            await users.check_password(session, email="Jörg@bücher.example", password="long enough")
            is not None
        )


@pytest.mark.parametrize(
    "email", ["jörg@shop.example", "a b@shop.example", "x@shop.example\r\nBcc: y@example.net"]
)
async def test_odd_address_of_a_person_is_refused_when_saved(story: Story, email: str) -> None:
    async with story.database.transaction() as session:
        with pytest.raises(ValidationFailed):
            await users.create_user(session, email=email, now=START)
        with pytest.raises(ValidationFailed):
            await invitations.invite(
                session,
                project_id=story.project.id,
                email=email,
                role=Role.VIEWER,
                invited_by="usr_1",
                now=START,
            )


def test_sign_in_address_is_lower_case_and_has_no_space_around_it() -> None:
    assert sign_in_address("  Nadia@BÜCHER.example ") == "nadia@xn--bcher-kva.example"
