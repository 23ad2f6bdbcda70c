"""`project`, `key` and `user` on a real store, on SQLite and PostgreSQL."""

import re
from datetime import datetime, timedelta

import pytest

from tests.cli.makegood import Makegood


def test_created_project_shows_its_secrets_once(makegood: Makegood) -> None:
    made = makegood(
        "project", "create", "shop", "--mode", "test", "--alert-email", "ops@shop.example", "--json"
    ).json
    shown = makegood("project", "show", "shop", "--json")

    assert made["project_id"].startswith("prj_")
    assert made["api_key"].startswith("sk_test_")
    assert made["signing_secret"].startswith("whsec_")
    assert made["api_key"] not in shown.out
    assert made["signing_secret"] not in shown.out
    assert shown.json["alert_emails"] == ["ops@shop.example"]
    assert shown.json["timeout_minutes"] == 30


def test_live_project_has_a_live_key(sqlite_makegood: Makegood) -> None:
    made = sqlite_makegood(
        "project",
        "create",
        "shop",
        "--mode",
        "live",
        "--scope",
        "read",
        "--scope",
        "ingest",
        "--json",
    ).json
    keys = sqlite_makegood("key", "list", made["project_id"], "--json").json

    assert made["api_key"].startswith("sk_live_")
    assert keys["data"][0]["scopes"] == ["ingest", "read"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--repair-url", "http://shop.example/repair"), "repair_url: "),
        (("--repair-url", "https://127.0.0.1/repair"), "repair_url: "),
        (("--alert-email", "nobody"), "alert_emails"),
        (("--timeout-minutes", "0.001"), "timeout_minutes: "),
    ],
    ids=["plain http", "loopback", "no address", "too short"],
)
def test_refused_value_names_its_field(
    sqlite_makegood: Makegood, arguments: tuple[str, ...], expected: str
) -> None:
    done = sqlite_makegood("project", "create", "shop", "--mode", "test", *arguments)

    assert done.code == 2
    assert expected in done.err
    assert done.err.count("\n") == 1
    assert sqlite_makegood("project", "list", "--json").json["data"] == []


def test_repair_url_on_loopback_is_taken_where_egress_is_opened(sqlite_makegood: Makegood) -> None:
    url = "http://127.0.0.1:4242/makegood/repair"
    sqlite_makegood("project", "create", "shop", "--mode", "test")

    done = sqlite_makegood(
        "project", "set", "shop", "--repair-url", url, "--json", MAKEGOOD_EGRESS_ALLOW="127.0.0.0/8"
    )

    assert done.json["repair_url"] == url


def test_set_changes_what_is_named_and_nothing_else(makegood: Makegood) -> None:
    before = makegood(
        "project", "create", "shop", "--mode", "test", "--alert-email", "a@shop.example", "--json"
    ).json

    after = makegood(
        "project", "set", "shop", "--timeout-minutes", "5", "--late-result", "note", "--json"
    ).json

    assert after.pop("warnings") == []
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"timeout_minutes", "late_result"}
    assert (
        makegood("project", "set", "shop", "--no-alert-emails", "--json").json["alert_emails"] == []
    )


def test_suspended_project_can_be_resumed(makegood: Makegood) -> None:
    makegood("project", "create", "shop", "--mode", "test")

    assert makegood("project", "suspend", "shop", "--json").json["suspended"] is True
    assert makegood("project", "resume", "shop", "--json").json["suspended"] is False


def test_rotation_gives_another_secret(makegood: Makegood) -> None:
    made = makegood("project", "create", "shop", "--mode", "test", "--json").json

    rotated = makegood("project", "rotate-secret", "shop", "--json").json

    assert rotated["signing_secret"].startswith("whsec_")
    assert rotated["signing_secret"] != made["signing_secret"]
    assert (
        makegood("project", "show", "shop", "--json").json["signature_overlap_ends_at"]
        == rotated["overlap_ends_at"]
    )
    assert makegood("project", "finish-rotation", "shop").code == 0


def test_key_is_shown_once_and_can_be_revoked(makegood: Makegood) -> None:
    makegood("project", "create", "shop", "--mode", "test")

    expiring = ("--expires-in-days", "30")
    made = makegood(
        "key", "create", "shop", "--label", "laptop", "--scope", "read", *expiring, "--json"
    ).json
    makegood("key", "revoke", "shop", made["key_id"])
    listed = makegood("key", "list", "shop", "--json")

    key = next(key for key in listed.json["data"] if key["key_id"] == made["key_id"])
    assert key["label"] == "laptop"
    assert key["scopes"] == ["read"]
    assert key["revoked_at"] is not None
    assert timedelta(days=30) == datetime.fromisoformat(key["expires_at"]) - datetime.fromisoformat(
        key["created_at"]
    )
    assert made["api_key"] not in listed.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("project", "show", "nowhere"),
        ("project", "suspend", "nowhere"),
        ("key", "list", "nowhere"),
        ("key", "revoke", "shop", "key_nothing"),
        ("incident", "list", "--project", "nowhere"),
    ],
    ids=" ".join,
)
def test_unknown_thing_is_exit_code_3(
    sqlite_makegood: Makegood, arguments: tuple[str, ...]
) -> None:
    sqlite_makegood("project", "create", "shop", "--mode", "test")

    done = sqlite_makegood(*arguments)

    assert done.code == 3
    assert done.err.startswith("makegood: ")


def test_table_is_never_truncated(sqlite_makegood: Makegood) -> None:
    address = "a-rather-long-address-of-someone@an-even-longer-domain-name.example"
    made = sqlite_makegood(
        "project", "create", "shop", "--mode", "test", "--alert-email", address, "--json"
    ).json

    done = sqlite_makegood("project", "list", COLUMNS="40")

    assert made["project_id"] in done.out
    assert address in done.out


def test_login_link_is_new_each_time(makegood: Makegood) -> None:
    first, second = (makegood("user", "link", "--json").json["url"] for _ in range(2))

    assert re.fullmatch(r"http://127\.0\.0\.1:8000/login/link\?token=\S{20,}", first)
    assert first != second
    assert makegood("user", "list", "--json").code == 0


def test_project_is_deleted_when_its_name_is_given_twice(makegood: Makegood) -> None:
    makegood("project", "create", "shop", "--mode", "test")

    mistyped = makegood("project", "delete", "shop", "--confirm", "shap")
    deleted = makegood("project", "delete", "shop", "--confirm", "shop", "--json")

    assert (mistyped.code, "not the name of the project" in mistyped.err) == (2, True)
    assert (deleted.json["deleted"], deleted.json["receipts_ended"]) == (True, 0)
    (entry,) = makegood("audit", "list", "--action", "project_deleted", "--json").json["data"]
    assert (entry["subject_id"], entry["actor"].partition(":")[0]) == (
        deleted.json["project_id"],
        "cli",
    )
    assert makegood("key", "list", "shop").code == 3


def test_own_names_are_set_and_removed(makegood: Makegood) -> None:
    makegood("project", "create", "shop", "--mode", "test")
    names = ("--provider", "paddle", "--provider", "internal", "--effect-type", "license_issue")

    added = makegood("project", "set", "shop", *names, "--json").json
    refused = makegood("project", "set", "shop", "--provider", "Paddle")
    removed = makegood("project", "set", "shop", "--no-names", "--json").json

    assert added["providers"] == ["paddle", "internal"]
    assert (added["event_types"], added["effect_types"]) == ([], ["license_issue"])
    assert (refused.code, "providers/0" in refused.err) == (2, True)
    assert [removed[name] for name in ("providers", "event_types", "effect_types")] == [[], [], []]
