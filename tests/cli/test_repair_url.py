"""`makegood project test-repair` on a real endpoint."""

import json

from tests.cli.makegood import Makegood
from tests.cli.receiver import receiving

ALLOW = {"MAKEGOOD_EGRESS_ALLOW": "127.0.0.0/8"}


def test_answer_is_printed_and_a_refusal_fails(sqlite_makegood: Makegood) -> None:
    test = ("project", "test-repair", "shop", "--json")
    with receiving() as receiver:
        create = ("project", "create", "shop", "--mode", "test")
        sqlite_makegood(*create, "--repair-url", f"{receiver.url}/repair", **ALLOW)

        accepted = sqlite_makegood(*test, **ALLOW)
        receiver.status, receiver.answer = 401, {"reason": "bad_signature"}
        refused = sqlite_makegood(*test, **ALLOW)
        guarded = sqlite_makegood(*test, MAKEGOOD_EGRESS_ALLOW="")

    assert (accepted.code, refused.code, guarded.code) == (0, 1, 1)
    assert (accepted.json["ok"], accepted.json["status"]) == (True, 200)
    assert json.loads(accepted.json["body"])["test"] is True
    answered = json.loads(refused.out)
    assert (answered["status"], answered["answer_excerpt"]) == (401, '{"reason": "bad_signature"}')
    assert json.loads(guarded.out)["error_class"] == "no_permitted_address"
    assert [got.headers["x-sendpromptly-test"] for got in receiver.got] == ["true", "true"]


def test_project_without_a_repair_url_is_refused(sqlite_makegood: Makegood) -> None:
    sqlite_makegood("project", "create", "shop", "--mode", "test")

    refused = sqlite_makegood("project", "test-repair", "shop")
    unknown = sqlite_makegood("project", "test-repair", "nowhere")

    assert (refused.code, unknown.code) == (1, 3)
    assert "no repair URL" in refused.err
