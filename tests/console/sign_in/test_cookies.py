"""Form tokens and notices belong to one session."""

from datetime import UTC, datetime, timedelta

import pytest

from api.console.sign_in.cookies import ConsoleKeys, Notice, Secret

KEYS = ConsoleKeys("k" * 40)
OLD, NEW = "o" * 40, "n" * 40
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOTICE = Notice("good", "Copy it now.", (Secret("API key", "sk_test_1"),))


def test_a_notice_is_readable_by_its_session() -> None:
    assert KEYS.unseal(KEYS.seal(NOTICE, session_token="mine"), session_token="mine") == NOTICE


def test_a_notice_of_another_session_is_not_read() -> None:
    assert KEYS.unseal(KEYS.seal(NOTICE, session_token="mine"), session_token="theirs") is None


def test_a_notice_sealed_under_another_root_secret_is_not_read() -> None:
    assert (
        ConsoleKeys("x" * 40).unseal(KEYS.seal(NOTICE, session_token="mine"), session_token="mine")
        is None
    )


def test_an_unauthentic_cookie_is_not_read() -> None:
    for cookie in ("", "A", "AAAA", "ä", "\ud800", "x" * 200):
        assert KEYS.unseal(cookie, session_token="mine") is None


def test_a_notice_hides_its_secret() -> None:
    assert "sk_test_1" not in KEYS.seal(NOTICE, session_token="mine")


def test_a_form_token_belongs_to_one_session() -> None:
    token = KEYS.form_token("mine")

    assert KEYS.is_form_token(token, session_token="mine")
    assert not KEYS.is_form_token(token, session_token="theirs")
    assert not KEYS.is_form_token("", session_token="mine")
    assert not KEYS.is_form_token("ä", session_token="mine")


def test_state_is_valid_for_its_purpose_until_it_expires() -> None:
    sealed = KEYS.seal_state({"user_id": "usr_1"}, purpose="pending_second_factor", now=NOW)

    assert KEYS.unseal_state(sealed, purpose="pending_second_factor", seconds=600, now=NOW) == {
        "user_id": "usr_1"
    }
    assert KEYS.unseal_state(sealed, purpose="device", seconds=600, now=NOW) is None
    assert (
        KEYS.unseal_state(
            sealed, purpose="pending_second_factor", seconds=600, now=NOW + timedelta(minutes=10)
        )
        is None
    )
    assert (
        ConsoleKeys("x" * 40).unseal_state(
            sealed, purpose="pending_second_factor", seconds=600, now=NOW
        )
        is None
    )
    assert "usr_1" not in sealed


def test_unauthentic_state_is_not_read() -> None:
    for cookie in ("", "A", "AAAA", "ä", "\ud800", "x" * 200):
        assert (
            KEYS.unseal_state(cookie, purpose="pending_second_factor", seconds=600, now=NOW) is None
        )


@pytest.mark.parametrize(
    ("made_by", "read_by"),
    [
        ((OLD, None), (NEW, OLD)),
        ((NEW, OLD), (OLD, None)),
        ((NEW, OLD), (NEW, None)),
        ((NEW, None), (NEW, OLD)),
    ],
    ids=["old, both", "both, old", "both, new", "new, both"],
)
def test_forms_and_notices_work_across_processes_during_a_rotation(
    made_by: tuple[str, str | None], read_by: tuple[str, str | None]
) -> None:
    made, read = ConsoleKeys(*made_by), ConsoleKeys(*read_by)

    assert read.is_form_token(made.form_token("session"), session_token="session")
    assert not read.is_form_token(made.form_token("session"), session_token="another")
    assert (
        read.unseal(made.seal(NOTICE, session_token="session"), session_token="session") == NOTICE
    )
    sealed = made.seal_state({"user_id": "usr_1"}, purpose="pending_second_factor", now=NOW)
    assert read.unseal_state(sealed, purpose="pending_second_factor", seconds=600, now=NOW) == {
        "user_id": "usr_1"
    }


def test_dropped_secret_signs_no_form_and_decrypts_no_notice() -> None:
    old, new = ConsoleKeys(OLD), ConsoleKeys(NEW)

    assert not new.is_form_token(old.form_token("session"), session_token="session")
    assert not new.is_form_token("", session_token="session")
    assert new.unseal(old.seal(NOTICE, session_token="session"), session_token="session") is None


def test_notice_expires_by_the_clock_of_the_database() -> None:
    """The page after the POST may be served by another process with the same clock."""
    made, read = (
        ConsoleKeys("k" * 40, now=lambda: NOW),
        ConsoleKeys("k" * 40, now=lambda: NOW + timedelta(seconds=3)),
    )
    late = ConsoleKeys("k" * 40, now=lambda: NOW + timedelta(seconds=121))
    sealed = made.seal(NOTICE, session_token="mine")

    assert read.unseal(sealed, session_token="mine") == NOTICE
    assert late.unseal(sealed, session_token="mine") is None


def test_changed_cookie_is_not_read() -> None:
    sealed = KEYS.seal(NOTICE, session_token="mine")

    for place in range(len(sealed.rstrip("=")) - 1):
        changed = "A" if sealed[place] != "A" else "B"
        cookie = sealed[:place] + changed + sealed[place + 1 :]
        assert KEYS.unseal(cookie, session_token="mine") is None, place


@pytest.mark.parametrize(
    ("seconds", "is_read"), [(60, True), (61, False)], ids=["within a minute", "later"]
)
def test_cookie_from_the_future_is_not_read(seconds: int, is_read: bool) -> None:
    """The clocks of two processes may differ by a minute."""
    sealed = KEYS.seal_state({}, purpose="device", now=NOW + timedelta(seconds=seconds))

    read = KEYS.unseal_state(sealed, purpose="device", seconds=600, now=NOW)

    assert (read == {}) is is_read


def test_state_of_two_secrets_fits_into_a_cookie() -> None:
    """Browsers keep at most 4,096 bytes. The longest notice has ten recovery codes."""
    codes = tuple(Secret(f"Recovery code {number}", "abcde-fghij") for number in range(1, 11))
    notice = Notice("good", "x" * 200, codes)

    assert len(ConsoleKeys(NEW, OLD).seal(notice, session_token="mine")) < 4_000
