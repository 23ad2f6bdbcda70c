"""`signature make` and `verify`: they agree with each other and with Standard Webhooks' own
library.
"""

import base64
import json
from pathlib import Path

import pytest
import standardwebhooks

from domain.security.signing import sign
from tests.cli.makegood import Done, Makegood

SECRET = "whsec_" + base64.b64encode(b"the signing secret of the tests!").decode()
NEXT_SECRET = "whsec_" + base64.b64encode(b"the one that follows in its turn").decode()
BODY = b'{"type": "repair.requested",  "replay_id": "rpl_1"}\n'


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "body.json"
    path.write_bytes(BODY)
    return path


def make(makegood: Makegood, body: Path, *arguments: str) -> dict[str, str]:
    headers: dict[str, str] = makegood(
        "signature",
        "make",
        "--secret",
        SECRET,
        "--body",
        str(body),
        "--replay-id",
        "rpl_1",
        "--json",
        *arguments,
    ).json
    return headers


def verify(
    makegood: Makegood, body: Path, headers: dict[str, str], *arguments: str, secret: str = SECRET
) -> Done:
    lines = body.with_name("headers.txt")
    lines.write_text("".join(f"{name}: {value}\n" for name, value in headers.items()))
    return makegood(
        "signature",
        "verify",
        "--secret",
        secret,
        "--body",
        str(body),
        "--headers",
        str(lines),
        "--json",
        *arguments,
    )


def test_made_headers_are_accepted_by_the_libraries(bare_makegood: Makegood, body: Path) -> None:
    headers = make(bare_makegood, body, "--attempt", "3")

    assert standardwebhooks.Webhook(SECRET).verify(BODY, headers) == json.loads(BODY)
    assert headers["X-SendPromptly-Attempt"] == "3"


def test_generated_headers_are_valid(bare_makegood: Makegood, body: Path) -> None:
    done = verify(bare_makegood, body, make(bare_makegood, body))

    assert done.json == {"valid": True, "x-sendpromptly": "valid", "standard-webhooks": "valid"}


def test_rotation_is_valid_under_either_secret(bare_makegood: Makegood, body: Path) -> None:
    headers = make(bare_makegood, body, "--secret", NEXT_SECRET)

    assert "X-SendPromptly-Signature-Next" in headers
    assert verify(bare_makegood, body, headers, secret=NEXT_SECRET).code == 0
    assert verify(bare_makegood, body, headers).code == 0


def test_changed_body_is_found_invalid(bare_makegood: Makegood, body: Path) -> None:
    headers = make(bare_makegood, body)
    body.write_bytes(BODY.strip())

    done = verify(bare_makegood, body, headers)

    assert done.code == 1
    assert json.loads(done.out)["valid"] is False


def test_old_timestamp_is_invalid_unless_any_age_is_taken(
    bare_makegood: Makegood, body: Path
) -> None:
    headers = make(bare_makegood, body, "--timestamp", "1700000000", "--nonce", "0" * 32)

    assert verify(bare_makegood, body, headers).code == 1
    assert verify(bare_makegood, body, headers, "--any-age").code == 0


def test_secret_and_body_can_come_without_a_file_or_an_argument(
    bare_makegood: Makegood, body: Path
) -> None:
    headers = make(bare_makegood, body)
    options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]

    done = bare_makegood(
        "signature", "verify", "--body", "-", *options, stdin=BODY, MAKEGOOD_SIGNING_SECRET=SECRET
    )

    assert done.code == 0, done.err


BLANKS = ["", " ", ",", SECRET + ",", "," + SECRET, f"{SECRET},,{NEXT_SECRET}", "whsec_"]


@pytest.mark.parametrize("secret", BLANKS)
def test_blank_secret_is_refused_before_anything_is_compared(
    bare_makegood: Makegood, body: Path, secret: str
) -> None:
    """Anybody can sign with an empty key."""
    forged = sign("", timestamp=1_700_000_000, nonce="0" * 32, body=BODY)
    headers = {
        "X-SendPromptly-Timestamp": "1700000000",
        "X-SendPromptly-Nonce": "0" * 32,
        "X-SendPromptly-Signature": forged,
    }

    done = verify(bare_makegood, body, headers, "--any-age", secret=secret)
    made = bare_makegood(
        "signature", "make", "--secret", secret, "--body", str(body), "--replay-id", "rpl_1"
    )

    assert (done.code, made.code) == (2, 2)
    assert done.err == made.err
    assert done.err.startswith("makegood: a signing secret is ")
    assert SECRET not in done.err


@pytest.mark.parametrize(
    "text", [f" {SECRET}\n", f"{NEXT_SECRET}, {SECRET}", f"{NEXT_SECRET},{SECRET}\n"]
)
def test_secrets_of_the_variable_are_split_and_trimmed(
    bare_makegood: Makegood, body: Path, text: str
) -> None:
    headers = make(bare_makegood, body)
    options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]

    done = bare_makegood(
        "signature", "verify", "--body", str(body), *options, MAKEGOOD_SIGNING_SECRET=text
    )

    assert done.code == 0, done.err


def test_repeated_header_is_found_invalid(bare_makegood: Makegood, body: Path) -> None:
    headers = make(bare_makegood, body)

    done = verify(
        bare_makegood,
        body,
        headers,
        "-H",
        "x-sendpromptly-nonce: " + headers["X-SendPromptly-Nonce"],
    )

    assert done.code == 1
    assert "x-sendpromptly-nonce more than once" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("signature", "verify", "--secret", SECRET, "--body", "/dev/null"),
        (
            "signature",
            "verify",
            "--secret",
            SECRET,
            "--body",
            "no-such-file",
            "-H",
            "webhook-signature: v1,x",
        ),
        (
            "signature",
            "make",
            "--secret",
            "no secret",
            "--body",
            "/dev/null",
            "--replay-id",
            "rpl_1",
        ),
        (
            "signature",
            "make",
            "--secret",
            SECRET,
            "--body",
            "/dev/null",
            "--replay-id",
            "rpl_1",
            "--nonce",
            "short",
        ),
    ],
    ids=["no signature", "no body", "malformed secret", "malformed nonce"],
)
def test_what_cannot_be_checked_is_a_usage_error(
    bare_makegood: Makegood, arguments: tuple[str, ...]
) -> None:
    done = bare_makegood(*arguments)

    assert done.code == 2
    assert done.err.startswith("makegood: ")
