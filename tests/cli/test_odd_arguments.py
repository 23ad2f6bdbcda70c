"""An argument that is not UTF-8, an invalid address, a file that never ends its nesting: one
line and an exit code.
"""

import json
from pathlib import Path

import pytest

from cli.doctor.findings import Check, Finding, Verdict
from cli.doctor.run import _run
from cli.doctor.services import check_api
from tests.cli.makegood import Makegood

ODD = b"a\xff".decode("utf-8", "surrogateescape")
SEND = (
    "receipt",
    "send",
    "--event-type",
    "invoice.paid",
    "--effect-type",
    "credit_grant",
    "--event-id",
    "evt_1",
)
TRIGGER = ("trigger", "invoice.paid", "--to")


@pytest.mark.parametrize(
    "arguments",
    [
        ("receipt", "list", "--search", ODD),
        ("receipt", "list", "--reference", ODD),
        ("incident", "list", "--search", ODD),
        ("audit", "list", "--actor", ODD),
        ("audit", "export", "--actor", ODD),
        ("receipt", "list", "--cursor", ODD),
        ("audit", "list", "--after", ODD),
        ("project", "create", ODD, "--mode", "test"),
        ("project", "create", "shop", "--mode", "test", "--alert-email", ODD),
        ("project", "create", "shop", "--mode", "test", "--repair-url", f"https://{ODD}.example"),
        ("user", "create", f"{ODD}@shop.example"),
        (*TRIGGER, "http://127.0.0.1:1", "--secret", ODD),
        (*TRIGGER, "http://127.0.0.1:1", "--secret", "whsec_x", "--reference", ODD),
        (*TRIGGER, "http://127.0.0.1:1", "--secret", "whsec_x", "--event-id", ODD),
        (*SEND, "--reference", "r", "--key", ODD),
        (*SEND, "--reference", "r", "--key", "sk", "--idempotency-key", ODD),
    ],
    ids=lambda arguments: " ".join(arguments[:4]).encode("ascii", "replace").decode(),
)
def test_argument_that_is_not_utf_8_is_a_usage_error(
    sqlite_makegood: Makegood, arguments: tuple[str, ...]
) -> None:
    done = sqlite_makegood(*arguments)

    assert (done.code, done.out) == (2, ""), done.err
    assert done.err.startswith("makegood: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("receipt", "list", "--project", ODD),
        ("receipt", "show", ODD),
        ("incident", "show", ODD),
        ("incident", "resolve", ODD, "--reason", ODD),
        ("key", "create", ODD, "--label", ODD),
        ("user", "grant", ODD, f"{ODD}@shop.example", "--role", "viewer"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_name_that_is_not_utf_8_is_not_found_or_refused(
    sqlite_makegood: Makegood, arguments: tuple[str, ...]
) -> None:
    done = sqlite_makegood(*arguments)

    assert (done.code, done.out) in ((2, ""), (3, "")), done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "url",
    [
        "http://xn--a/",
        "http://xn--a.example:1",
        "http://[::::]",
        f"http://{ODD}/",
        "http://h:99999",
        "x",
    ],
)
@pytest.mark.parametrize("command", ["receipt", "trigger"])
def test_invalid_address_is_a_one_line_error(
    sqlite_makegood: Makegood, command: str, url: str
) -> None:
    send = (*SEND, "--reference", "r", "--key", "sk", "--url", url)

    done = sqlite_makegood(
        *(send if command == "receipt" else (*TRIGGER, url, "--secret", "whsec_x"))
    )

    assert (done.code, done.out) == (1, ""), done.err
    assert done.err.startswith("makegood: no answer from ")
    assert done.err.count("\n") == 1


async def test_doctor_reports_an_invalid_api_address() -> None:
    for url in ("http://xn--a", "http://[::::]", "http://h:99999"):
        finding = await check_api(url)

        assert (finding.verdict, finding.fix) == (
            Verdict.FAIL,
            "run `makegood up`, or correct MAKEGOOD_PUBLIC_URL",
        ), url


async def test_doctor_check_that_raises_fails_alone_without_details() -> None:
    async def check() -> Finding:
        raise ZeroDivisionError("the password")

    finding = await _run(Check("API", check))

    assert (finding.verdict, finding.detail) == (
        Verdict.FAIL,
        "the check itself failed (ZeroDivisionError)",
    )
    assert finding.fix is not None


@pytest.mark.parametrize("depth", [500, 980, 1_000, 5_000, 200_000])
@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "open"])
def test_deeply_nested_payload_does_not_crash(
    sqlite_makegood: Makegood, tmp_path: Path, depth: int, is_closed: bool
) -> None:
    payload = tmp_path / "deep.json"
    payload.write_text('{"a":' + "[" * depth + ("]" * depth + "}" if is_closed else ""))

    sent = (
        *SEND,
        "--reference",
        "r",
        "--key",
        "sk",
        "--url",
        "http://127.0.0.1:1",
        "--payload",
        str(payload),
    )
    done = sqlite_makegood(*sent)

    assert done.code in (1, 2), done.err
    assert "Traceback" not in done.err
    assert done.err.count("\n") == 1


def test_non_ascii_filters_are_accepted(sqlite_makegood: Makegood) -> None:
    done = sqlite_makegood(
        "receipt", "list", "--search", "größe 🧾", "--reference", "ключ", "--json"
    )

    assert json.loads(done.out) == {"data": [], "has_more": False, "next_cursor": None}
