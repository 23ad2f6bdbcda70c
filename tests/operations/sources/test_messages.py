"""What an error of a source's input says: what is expected, and never what is not wrong."""

from typing import Any

import pytest

from domain.errors import ValidationFailed
from operations.sources.inputs import NewSourceBody
from operations.validation import validated
from tests.operations.sources.test_rules import body


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("stripe_webhook", {"signing_secret": "whsec_"}, "Must have at least 8 characters."),
        ("stripe_webhook", {"signing_secret": " "}, "Must have at least 8 characters."),
        ("stripe_api", {"api_key": "rk_test"}, "Must have at least 8 characters."),
        (
            "stripe_api",
            {"api_key": "rk_test_a b"},
            "Must be printable ASCII without blanks: copy it again.",
        ),
        ("stripe_api", {"name": " "}, "Must not be empty."),
        ("stripe_api", {"name": "a\nb"}, "Must be one line, without control characters."),
        ("stripe_api", {"expects": []}, "Must have more entries."),
        (
            "stripe_api",
            {"account": "1"},
            "Must be the id of a connected account, which begins with acct_.",
        ),
        (
            "shopify_api",
            {"shop_domain": "shop.example"},
            "Must be the shop's own domain, name.myshopify.com.",
        ),
    ],
    ids=lambda value: str(value)[:40].encode("unicode_escape").decode(),
)
def test_message_says_what_is_expected(kind: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        validated(NewSourceBody, body(kind, **changes))

    assert [error.message for error in refused.value.errors] == [message]
