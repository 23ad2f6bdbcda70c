"""`makegood source` on a real store, on SQLite and PostgreSQL. No command prints a secret."""

from typing import Any

import pytest

from tests.cli.makegood import Done, Makegood

SECRET = "whsec_a-secret-that-is-never-printed"
EXPECT = ("--expect", "invoice.paid access_unlock")


def shop(makegood: Makegood) -> None:
    assert makegood("project", "create", "shop", "--mode", "test").code == 0


def add(makegood: Makegood, *arguments: str, secret: str = SECRET, kind: str = "") -> Done:
    given = ("source", "add", "shop", kind or "stripe_webhook", "--name", "Payments", *arguments)
    return makegood(*given, "--json", MAKEGOOD_SOURCE_SECRET=secret)


def test_source_is_added_listed_changed_and_removed(makegood: Makegood) -> None:
    shop(makegood)

    added = add(makegood, *EXPECT, "--silent-after-minutes", "60").json
    on_it = ("shop", added["id"], "--json")
    expect = ("--expect", "charge.refunded credit_deduction 0.5 /data/object/metadata/my id")
    changed = makegood("source", "set", *on_it, "--name", "Neu", "--never-silent", *expect).json
    paused = makegood("source", "pause", *on_it).json
    resumed = makegood("source", "resume", *on_it).json
    listed = makegood("source", "list", "shop", "--json").json
    shown = makegood("source", "show", *on_it).json
    report = makegood("source", "report", *on_it).json
    removed = makegood("source", "remove", *on_it).json

    assert (added["kind"], added["silent_after_minutes"]) == ("stripe_webhook", 60)
    assert (changed["name"], changed["silent_after_minutes"]) == ("Neu", None)
    assert changed["expects"] == [
        {
            "event_type": "charge.refunded",
            "effect_type": "credit_deduction",
            "within_minutes": 0.5,
            "reference": "/data/object/metadata/my id",
            "livemode": False,
            "since": changed["expects"][0]["since"],
        }
    ]
    assert changed["expects"][0]["since"] > added["created_at"]
    assert (paused["state"], resumed["state"]) == ("paused", "new")
    assert resumed.pop("warnings") == []
    assert listed["data"] == [resumed]
    assert shown == resumed | {"gaps": []}
    assert len(changed["warnings"]) == 1
    assert changed["warnings"][0].startswith(
        "No longer expected: invoice.paid for access_unlock. New events of it make nothing."
        " Receipts that are expected already stay: each waits for the app's receipt"
    )
    assert (report["events"], report["amounts"]) == (0, [])
    assert removed == {"id": added["id"], "removed": True}
    assert makegood("source", "list", "shop", "--json").json["data"] == []
    assert makegood("source", "show", *on_it).code == 3


def test_every_option_of_a_listing_is_taken(sqlite_makegood: Makegood) -> None:
    shop(sqlite_makegood)
    options: tuple[str, ...] = ("--every-minutes", "10", "--account", "acct_1", *EXPECT)

    stripe = add(sqlite_makegood, *options, kind="stripe_api", secret="rk_test_abc").json
    shopify = add(
        sqlite_makegood,
        *("--shop-domain", "a.myshopify.com", "--identity", "event_id"),
        *("--expect", "orders/paid access_unlock"),
        kind="shopify_webhook",
    ).json

    assert (stripe["every_minutes"], stripe["account"]) == (10, "acct_1")
    assert (shopify["shop_domain"], shopify["identity"]) == ("a.myshopify.com", "event_id")


def test_check_of_a_webhook_that_received_nothing_exits_1(sqlite_makegood: Makegood) -> None:
    shop(sqlite_makegood)
    source_id = add(sqlite_makegood, *EXPECT).json["id"]

    done = sqlite_makegood("source", "check", "shop", source_id)

    assert done.code == 1
    assert "ok " in done.out
    assert done.err.startswith("makegood: the check failed: No event has come yet.")


def test_no_command_prints_the_secret(sqlite_makegood: Makegood) -> None:
    shop(sqlite_makegood)
    added = add(sqlite_makegood, *EXPECT)
    on_it = ("shop", added.json["id"])
    replace = ("source", "set", *on_it, "--replace-secret")
    wrong: dict[str, Any] = {"MAKEGOOD_SOURCE_SECRET": f"{SECRET} with blanks"}

    done = [
        added,
        add(sqlite_makegood, *EXPECT, kind="stripe_api"),
        sqlite_makegood(*replace, MAKEGOOD_SOURCE_SECRET=f"{SECRET}2"),
        sqlite_makegood(*replace, **wrong),
        sqlite_makegood(*replace, stdin=f"{SECRET}3\n".encode()),
        sqlite_makegood(*replace, stdin=f"{SECRET} with blanks\n".encode()),
        sqlite_makegood(*replace, stdin=b"\n"),
        *(sqlite_makegood("source", name, *on_it) for name in ("show", "check", "remove")),
        sqlite_makegood("audit", "list"),
    ]

    assert [one.code for one in done] == [0, 2, 0, 2, 0, 2, 2, 0, 1, 0, 0]
    assert [one for one in done if SECRET in one.out + one.err] == []


def test_secret_is_replaced_only_by_an_option(sqlite_makegood: Makegood) -> None:
    shop(sqlite_makegood)
    change = ("source", "set", "shop", add(sqlite_makegood, *EXPECT).json["id"], "--json")
    other = "rk_test_the-key-of-another-source"

    def fields() -> list[str]:
        newest = sqlite_makegood("audit", "list", "--json").json["data"][0]
        found: list[str] = newest["details"]["fields"]
        return found

    sqlite_makegood(*change, "--name", "Neu", MAKEGOOD_SOURCE_SECRET=other, stdin=other.encode())
    of_the_variable = fields()
    refused = sqlite_makegood(*change, "--replace-secret", MAKEGOOD_SOURCE_SECRET=other)
    replaced = sqlite_makegood(*change, "--replace-secret", stdin=f"{SECRET}2\n".encode())

    assert of_the_variable == ["name"]
    assert (refused.code, replaced.code) == (2, 0)
    assert refused.err.startswith("makegood: signing_secret: ")
    assert fields() == ["secret"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "expects: "),
        (("--expect", "invoice.paid"), "expects/0/effect_type: "),
        (("--expect", "invoice.paid access_unlock soon"), "expects/0/within_minutes: "),
        (("--expect", "invoice.paid access_unlock 15 data"), "expects/0/reference: "),
        (("--every-minutes", "5", *EXPECT), "every_minutes: "),
        (("--shop-domain", "a.myshopify.com", *EXPECT), "shop_domain: "),
    ],
)
def test_refused_value_names_its_field(
    sqlite_makegood: Makegood, arguments: tuple[str, ...], expected: str
) -> None:
    shop(sqlite_makegood)

    done = add(sqlite_makegood, *arguments)

    assert done.code == 2
    assert done.err.startswith(f"makegood: {expected}")
    assert done.err.count("\n") == 1


def test_unknown_source_and_day_are_said_so(sqlite_makegood: Makegood) -> None:
    shop(sqlite_makegood)
    source_id = add(sqlite_makegood, *EXPECT).json["id"]

    unknown = sqlite_makegood("source", "report", "shop", "src_unknown")
    day = sqlite_makegood("source", "report", "shop", source_id, "--day", "2020-01-01")

    assert (unknown.code, day.code) == (3, 2)
    assert day.err == "makegood: day: Must be one of the last 40 days (UTC).\n"
