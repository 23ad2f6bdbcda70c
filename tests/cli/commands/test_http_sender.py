"""`receipt send` and `result send` over real HTTP: what they print, and the exit code of each kind
of refusal.
"""

from collections.abc import Iterator

import pytest

from tests.cli.api_process import running_api
from tests.cli.makegood import Done, Makegood
from tests.support.waiting import wait_until

RECEIPT = (
    "receipt",
    "send",
    "--event-type",
    "invoice.paid",
    "--effect-type",
    "credit_grant",
    "--json",
)


@pytest.fixture(scope="module")
def makegood(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Makegood]:
    """The command line beside a running API, with the key of a test project in its environment."""
    with running_api(tmp_path_factory.mktemp("data")) as command:
        made = command("project", "create", "shop", "--mode", "test", "--json").json
        yield Makegood({**command.settings, "MAKEGOOD_API_KEY": made["api_key"]})


def send(
    makegood: Makegood, event: str, *arguments: str, reference: str = "order-1", **settings: str
) -> Done:
    return makegood(*RECEIPT, "--event-id", event, "--reference", reference, *arguments, **settings)


def test_receipt_then_result(makegood: Makegood) -> None:
    accepted = send(makegood, "evt_1", "--timeout-minutes", "5").json
    result = makegood(
        "result", "send", "--event-id", accepted["event_id"], "--status", "success", "--json"
    ).json

    assert accepted["accepted"] is True
    assert accepted["event_id"].startswith("evt_")
    assert result == {"accepted": True, "event_id": accepted["event_id"], "state": "applied"}
    assert (
        makegood("receipt", "show", accepted["event_id"], "--json").json["internal_reference"]
        == "order-1"
    )


def test_failed_result_by_the_providers_id(makegood: Makegood) -> None:
    send(makegood, "evt_2")

    failed = (
        "--status",
        "failed",
        "--error-code",
        "locked",
        "--error-message",
        "The ledger was locked.",
    )
    result = makegood("result", "send", "--stripe-event-id", "evt_2", *failed, "--json").json

    assert result["accepted"] is True


def test_failed_result_whose_message_is_not_utf_8_is_taken(makegood: Makegood) -> None:
    send(makegood, "evt_not_utf_8")

    failed = (
        "--status",
        "failed",
        "--error-message",
        b"caf\xe9".decode("utf-8", "surrogateescape"),
    )
    result = makegood(
        "result", "send", "--stripe-event-id", "evt_not_utf_8", *failed, "--json"
    ).json

    shown = makegood("receipt", "show", result["event_id"], "--json").json
    assert shown["incident"]["error_message"] == "caf\ufffd"


def test_same_key_and_body_say_that_they_are_a_replay(makegood: Makegood) -> None:
    again = ("--idempotency-key", "the same", "--occurred-at", "2026-11-23T11:13:55Z")
    first = send(makegood, "evt_3", *again).json
    second = send(makegood, "evt_3", *again).json

    assert second == {**first, "idempotent_replayed": True}


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("--key", "sk_test_nobody"), 4, "401 unauthorized"),
        (("--timeout-minutes", "0.001"), 2, "/timeout_minutes"),
        (("--occurred-at", "yesterday"), 2, "/occurred_at"),
        (("--url", "http://127.0.0.1:9"), 1, "--idempotency-key"),
        (("--key", "sk_test_se\ncret"), 2, "--key (MAKEGOOD_API_KEY) must be one line"),
        (("--key", "sk_test_ümlaut"), 2, "--key (MAKEGOOD_API_KEY) must be one line"),
        (("--idempotency-key", "a\r\nX-Header: b"), 2, "--idempotency-key must be printable"),
    ],
    ids=[
        "unknown key",
        "too short",
        "no instant",
        "nobody there",
        "key of two lines",
        "key beyond ASCII",
        "odd idempotency key",
    ],
)
def test_refusal_is_one_line_with_its_exit_code(
    makegood: Makegood, arguments: tuple[str, ...], code: int, expected: str
) -> None:
    done = send(makegood, "evt_4", *arguments)

    assert done.code == code
    assert expected in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""


def test_conflicting_receipt_is_exit_code_1(makegood: Makegood) -> None:
    send(makegood, "evt_5")

    done = send(makegood, "evt_5", reference="another order")

    assert done.code == 1
    assert "receipt_conflict" in done.err


def test_result_of_nothing_is_exit_code_3(makegood: Makegood) -> None:
    done = makegood("result", "send", "--event-id", "evt_nothing", "--status", "success")

    assert done.code == 3


def test_suspended_project_is_exit_code_4(makegood: Makegood) -> None:
    made = makegood("project", "create", "suspended", "--mode", "test", "--json").json
    makegood("project", "suspend", "suspended")

    done = send(makegood, "evt_6", MAKEGOOD_API_KEY=made["api_key"])

    assert done.code == 4
    assert "402 subscription_required" in done.err


def test_older_name_of_the_key_still_works(makegood: Makegood) -> None:
    key = makegood.settings["MAKEGOOD_API_KEY"]

    older = send(makegood, "evt_8", MAKEGOOD_API_KEY="", MAKEGOOD_KEY=key)
    both = send(makegood, "evt_9", MAKEGOOD_KEY="sk_test_of_another_shop")

    assert (older.code, both.code) == (0, 0), older.err + both.err


def test_key_never_appears_in_what_is_printed(makegood: Makegood) -> None:
    done = send(makegood, "evt_7", "--url", "http://127.0.0.1:9")

    assert makegood.settings["MAKEGOOD_API_KEY"] not in done.out + done.err


def test_receipt_says_what_is_at_risk(makegood: Makegood) -> None:
    risk = ("--amount", "4900", "--currency", "eur", "--customer", "customer 7")

    accepted = send(makegood, "evt_at_risk", *risk).json

    shown = makegood("receipt", "show", accepted["event_id"], "--json").json
    assert (shown["amount"], shown["currency"]) == (4900, "EUR")
    assert shown["customer_reference"] == "customer 7"
    assert accepted["effect_key"] == shown["effect_key"]


def test_result_says_that_the_effect_was_found_applied(makegood: Makegood) -> None:
    event_id = send(makegood, "evt_found").json["event_id"]
    found = ("--status", "success", "--already-applied")

    sent = makegood("result", "send", "--event-id", event_id, *found, "--json").json

    timeline = makegood("receipt", "show", event_id, "--json").json["timeline"]
    assert sent["state"] == "applied"
    assert timeline[-1]["already_applied"] is True


def test_name_of_the_project_is_sent_and_filters_the_list(makegood: Makegood) -> None:
    makegood("project", "set", "shop", "--provider", "paddle", "--effect-type", "license_issue")
    own = ("--provider", "paddle", "--event-type", "a.b", "--effect-type", "license_issue")

    sent = ("receipt", "send", "--event-id", "pad_1", "--reference", "order-7", *own, "--json")
    # The API process reads the settings of a project again within 5 s.
    wait_until(lambda: makegood(*sent).code == 0, what="the API knew the names")
    accepted = makegood(*sent).json
    listed = makegood("receipt", "list", *own, "--json").json
    unknown = makegood("receipt", "list", "--provider", "paypal")

    assert [row["event_id"] for row in listed["data"]] == [accepted["event_id"]]
    assert unknown.code == 2
    assert "provider: Must be 'stripe', 'shopify' or 'paddle'." in unknown.err
