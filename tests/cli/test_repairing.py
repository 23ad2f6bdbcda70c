"""`makegood bulk`, `makegood hold` and `makegood project rules` on a real store."""

import json
from pathlib import Path

from tests.cli.makegood import Makegood

RULES = {"rules": [{"name": "again", "delay_seconds": 60, "error_code": "db_*"}]}


def shop(makegood: Makegood) -> None:
    assert makegood("project", "create", "shop", "--mode", "test").code == 0


def test_holds_are_added_listed_and_removed(sqlite_makegood: Makegood) -> None:
    makegood = sqlite_makegood
    shop(makegood)

    added = makegood("hold", "add", "shop", "--all", "--reason", "closed", "--json").json
    of_effect = makegood("hold", "add", "shop", "--effect", "seat_update", "--reason", "x")
    listed = makegood("hold", "list", "shop", "--json").json
    table = makegood("hold", "list", "shop")
    removed = makegood("hold", "remove", "shop", added["id"], "--json").json
    unknown = makegood("hold", "remove", "shop", "hld_none")
    refused = makegood("hold", "add", "shop", "--reason", "x")

    assert (added["all"], added["reason"], of_effect.code) == (True, "closed", 0)
    assert [one["effect_type"] for one in listed["data"]] == [None, "seat_update"]
    assert "closed" in table.out
    assert removed["id"] == added["id"]
    assert (unknown.code, refused.code) == (3, 2)
    assert len(makegood("hold", "list", "shop", "--json").json["data"]) == 1


def test_rules_are_set_from_a_file_and_armed(sqlite_makegood: Makegood, tmp_path: Path) -> None:
    makegood = sqlite_makegood
    shop(makegood)
    file, broken = tmp_path / "rules.json", tmp_path / "broken.json"
    file.write_text(json.dumps(RULES))
    broken.write_text("[1")

    rules = makegood("project", "rules", "set", "shop", str(file), "--json").json
    shown = makegood("project", "rules", "show", "shop", "--json").json
    file.write_text(json.dumps(shown))
    again = makegood("project", "rules", "set", "shop", str(file), "--json").json
    armed = makegood("project", "rules", "arm", "shop", "again", "--json").json
    codes = [
        makegood("project", "rules", "set", "shop", str(one)).code
        for one in (broken, tmp_path / "none.json", tmp_path)
    ]

    assert rules == shown == again
    assert [(rule["name"], rule["error_code"]) for rule in shown["rules"]] == [("again", "db_*")]
    assert (armed["disarmed_at"], codes) == (None, [2, 2, 2])


def test_bulk_repair_is_refused_without_incidents_and_listed(sqlite_makegood: Makegood) -> None:
    makegood = sqlite_makegood
    shop(makegood)
    start = ("bulk", "start", "shop", "--reason", "outage")

    dry = makegood(*start, "--search", "seat", "--dry-run", "--json").json
    nothing = makegood(*start, "--search", "seat")
    unselected = makegood(*start)
    unknown = makegood(*start, "--incident", "inc_none")
    codes = [makegood("bulk", act, "blk_none").code for act in ("show", "pause", "abort")]

    assert (dry["matched"], dry["amounts"]) == (0, {})
    assert (nothing.code, unselected.code, unknown.code, codes) == (2, 2, 2, [3, 3, 3])
    assert makegood("bulk", "list", "--json").json["data"] == []
