"""The report: one self-contained file that agrees with the verdict."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.faults.installation.example_run import SECRET, Run, a_good_run
from tests.faults.installation.history import History
from tests.faults.report.picture import picture
from tests.faults.report.report import MOST_OF_A_RULE, write_report
from tests.faults.rules.checker import check
from tests.faults.rules.verdict import MEANINGS

VOID = {"meta", "br", "link", "img", "input", "hr"}


class _Balance(HTMLParser):
    """Fails where a tag is closed that is not the one open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _page(run: Run, tmp_path: Path, **parameters: object) -> str:
    history, path = run.history(), tmp_path / "report.html"
    write_report(history, check(history, signing_secrets=[SECRET]), path, parameters=parameters)
    return path.read_text()


def _broken() -> Run:
    run = a_good_run()
    run.fault(10.0, 11.0, "kill", "worker-1")
    run.mail(20.0, 2, "Incident open")
    run.mail(60.0, 2, "Incident open")
    del run.events[4]
    return run


@pytest.fixture(params=["held", "broken"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return _page(a_good_run() if request.param == "held" else _broken(), tmp_path, seed=7)


def test_it_is_one_file_that_loads_nothing_and_runs_nothing(page: str) -> None:
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!#)", page)
    assert not re.search(r"url\(|@import", page)


def test_its_tags_are_balanced(page: str) -> None:
    balance = _Balance()

    balance.feed(page)

    assert balance.open == []


def test_a_run_that_held_says_so_with_its_parameters_and_figures(tmp_path: Path) -> None:
    page = _page(a_good_run(), tmp_path, seed=4711, store="postgresql")

    assert "<h1>The promise held</h1>" in page
    assert "seed <b>4711</b>" in page
    assert "<dt>receipts acknowledged</dt><dd>4</dd>" in page
    assert "Violations" not in page


def test_a_run_that_did_not_hold_shows_each_violation_with_its_story(tmp_path: Path) -> None:
    page = _page(_broken(), tmp_path, seed=7)

    assert "<h1>The promise did not hold</h1>" in page
    lost = page[page.index('id="lost_receipt"') :].partition('class="violated"')[0]
    for text in (
        "evt_4 was acknowledged, and is not there",
        "sent",
        "unknown",
        "answered",
        "receipt 4",
    ):
        assert text in lost
    copied = page[page.index('id="mail_copy"') :]
    assert "timeline: incident_opened" in copied


def test_a_violation_is_shown_with_the_faults_around_it(tmp_path: Path) -> None:
    run = _broken()
    run.fault(45.0, 46.0, "stop", "api-1")

    page = _page(run, tmp_path)

    assert "stop of api-1" in page[page.index('id="mail_copy"') :]


def test_more_violations_than_are_shown_are_counted(tmp_path: Path) -> None:
    run = a_good_run()
    for number in range(100, 100 + MOST_OF_A_RULE + 3):
        run.observe(number, at=0.0, timeout=900.0, state="waiting")

    assert "and 3 more" in _page(run, tmp_path)


def test_what_comes_from_outside_is_escaped(tmp_path: Path) -> None:
    run = a_good_run()
    run.fault(5.0, 9.0, "stop", "<b>evil</b>")
    run.mail(20.0, 2, "Incident open").fields["subject"] = "<i>evil</i>"

    page = _page(run, tmp_path, seed="<u>")

    assert "<b>evil" not in page
    assert "<i>evil" not in page
    assert "<u>" not in page


@pytest.mark.parametrize("run", [a_good_run(), _broken(), Run()], ids=["held", "broken", "empty"])
def test_the_picture_is_well_formed_and_has_its_lanes(run: Run) -> None:
    history = run.history()

    drawn = ElementTree.fromstring(picture(history, check(history, signing_secrets=[SECRET])))

    names = [one.text for one in drawn.iter("text") if one.get("class") == "name"]
    lanes = [
        "receipts accepted",
        "refused or unknown",
        "incidents opened",
        "mails",
        "callbacks",
        "incidents resolved",
    ]
    assert [name for name in names if name in lanes] == lanes
    targets = {entry["target"] for entry in history.of("fault_began")}
    assert targets <= set(names)


def test_an_empty_history_gives_a_report(tmp_path: Path) -> None:
    verdict = check(History(), signing_secrets=[SECRET])

    write_report(History(), verdict, tmp_path / "report.html", parameters={})

    assert "did not hold" in (tmp_path / "report.html").read_text()


def test_every_rule_is_listed(page: str) -> None:
    for meaning in MEANINGS.values():
        assert meaning.replace("'", "&#39;") in page
