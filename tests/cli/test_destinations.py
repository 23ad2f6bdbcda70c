"""`makegood destination` on a real store, on SQLite and PostgreSQL. No command prints a target."""

from tests.cli.makegood import Done, Makegood
from tests.cli.receiver import receiving

URL = "https://93.184.215.14/services/T0/B0/very-secret-token"


def shop(makegood: Makegood) -> None:
    assert makegood("project", "create", "shop", "--mode", "test").code == 0


def add(makegood: Makegood, kind: str, *arguments: str, target: str = URL) -> Done:
    given = ("destination", "add", "shop", kind, *arguments, "--json")
    return makegood(*given, MAKEGOOD_DESTINATION_TARGET=target)


def test_destination_is_added_listed_changed_and_removed(makegood: Makegood) -> None:
    shop(makegood)

    added = add(makegood, "webhook", "--label", "hook", "--event", "incident.opened").json
    on_it = ("shop", added["id"], "--json")
    changed = makegood("destination", "set", *on_it, "--label", "neu", "--all-events").json
    disabled = makegood("destination", "set", *on_it, "--disable").json
    enabled = makegood("destination", "set", *on_it, "--enable").json
    listed = makegood("destination", "list", "shop", "--json").json
    removed = makegood("destination", "remove", *on_it).json

    assert added["secret"].startswith("whsec_")
    assert added["events"] == ["incident.opened"]
    assert (changed["label"], changed["events"]) == ("neu", None)
    assert (disabled["state"], enabled["state"]) == ("disabled", "active")
    assert listed["data"] == [enabled]
    assert "very-secret" not in str([added, changed, listed])
    assert removed == {"id": added["id"], "removed": True}
    assert makegood("destination", "remove", *on_it).code == 3


def test_address_is_an_alert_address_of_the_project(sqlite_makegood: Makegood) -> None:
    shop(sqlite_makegood)

    added = add(sqlite_makegood, "email", target="ops@shop.example").json
    shown = sqlite_makegood("project", "show", "shop", "--json").json

    assert (added["address"], added["secret"]) == ("ops@shop.example", None)
    assert shown["alert_emails"] == ["ops@shop.example"]


def test_test_prints_the_answer_and_fails_with_it(sqlite_makegood: Makegood) -> None:
    shop(sqlite_makegood)
    with receiving() as receiver:
        receiver.status, receiver.answer = 404, {"error": "gone"}
        allow = {"MAKEGOOD_EGRESS_ALLOW": "127.0.0.0/8"}
        given = ("destination", "add", "shop", "slack", "--target", f"{receiver.url}/very-secret")
        added = sqlite_makegood(*given, "--json", **allow).json
        on_it = ("shop", added["id"], "--json")

        refused = sqlite_makegood("destination", "test", *on_it, **allow)
        receiver.status = 200
        accepted = sqlite_makegood("destination", "test", *on_it, **allow)
        guarded = sqlite_makegood("destination", "test", *on_it, MAKEGOOD_EGRESS_ALLOW="")

    assert (refused.code, accepted.code, guarded.code) == (1, 0, 1)
    assert (accepted.json["ok"], accepted.json["status"]) == (True, 200)
    assert "HTTP 404" in refused.err
    assert "no_permitted_address" in guarded.err
    assert len(receiver.got) == 2
    assert "very-secret" not in refused.err + accepted.out


def test_target_is_replaced_from_the_variable_or_standard_input(sqlite_makegood: Makegood) -> None:
    shop(sqlite_makegood)
    added = add(sqlite_makegood, "slack").json
    replace = ("destination", "set", "shop", added["id"], "--replace-target", "--json")

    done = sqlite_makegood(*replace, MAKEGOOD_DESTINATION_TARGET=f"{URL}-2")
    refused = sqlite_makegood(*replace, MAKEGOOD_DESTINATION_TARGET="http://10.0.0.1/")
    missing = sqlite_makegood(*replace)

    assert (done.code, refused.code, missing.code) == (0, 2, 2)
    assert "10.0.0.1" not in refused.err
