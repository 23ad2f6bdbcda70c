"""No text of Pydantic's own reaches a user beside the message of a validator."""

from typing import Annotated

import pytest
from pydantic import AfterValidator, BaseModel

from config.secret_files import SettingsError
from config.settings import environment_names, load_settings
from domain.errors import ValidationFailed
from operations.validation import validated

PREFIXES = ("Value error", "Assertion failed")


ODD_VALUES = ("!", "a\tb", "http://user@host:99999/x", "-1", "[", "x" * 300)


def _message_on(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The message on the setting; empty when the value is allowed."""
    monkeypatch.setenv(name, value)
    try:
        load_settings()
    except SettingsError as error:
        return str(error)
    finally:
        monkeypatch.delenv(name)
    return ""


def test_message_on_a_wrong_setting_has_no_prefix_of_pydantic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [name for name in environment_names() if not name.endswith("_FILE")]

    messages = [_message_on(name, value, monkeypatch) for name in names for value in ODD_VALUES]

    assert len([message for message in messages if message]) > 2 * len(names)
    assert [message for message in messages if any(prefix in message for prefix in PREFIXES)] == []


def _refuse(_: str) -> str:
    raise ValueError("what is expected")


def _fail(text: str) -> str:
    assert text == "what is expected"
    return text


class _Body(BaseModel):
    refused: Annotated[str, AfterValidator(_refuse)]
    failed: Annotated[str, AfterValidator(_fail)]


def test_message_on_a_wrong_field_has_no_prefix_of_pydantic() -> None:
    with pytest.raises(ValidationFailed) as refused:
        validated(_Body, {"refused": "x", "failed": "x"})

    assert [error.pointer for error in refused.value.errors] == ["/refused", "/failed"]
    assert not any(prefix in error.message for error in refused.value.errors for prefix in PREFIXES)
