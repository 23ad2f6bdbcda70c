"""The pages of the installation: what the checks of doctor find, its versions, its users."""

import asyncio
import re
from dataclasses import replace
from importlib.metadata import version

import pytest

from api.console.composition import ConsoleDependencies
from api.console.pages.instance.examination import AGAIN_AFTER_SECONDS, Examination
from domain.projects import CreatedProject
from domain.users import Role
from operations.instance.findings import Finding, Findings, Verdict
from tests.console.conftest import EMAIL, Visitor, visiting
from tests.console.people import ConsoleWorld
from tests.console.recording import recorded_statements
from tests.support.given import START

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

MOST_QUERIES = 12
FOUND = (
    ("Store", Finding(Verdict.OK, "its tables are current")),
    ("Mail", Finding(Verdict.WARN, "<b>slow</b>", "ask the `postmaster`")),
    ("Worker", Finding(Verdict.FAIL, "none is alive", "start `makegood worker`")),
)


class Checks:
    """Checks that end when `ended` is set, and are counted."""

    def __init__(self) -> None:
        self.runs, self.ended = 0, asyncio.Event()

    async def __call__(self) -> Findings:
        self.runs += 1
        await self.ended.wait()
        return FOUND


@pytest.fixture
def checks() -> Checks:
    return Checks()


@pytest.fixture
def parts(parts: ConsoleDependencies, checks: Checks) -> ConsoleDependencies:
    return replace(parts, examine=checks)


async def test_page_shows_each_finding_with_its_fix(operator: Visitor, checks: Checks) -> None:
    checks.ended.set()

    page = (await operator.open("/instance")).text

    chips = re.findall(r'class="chip [^"]*">(OK|Warning|Failed)<', page)
    assert chips == ["OK", "Warning", "Failed"]
    assert "1 ok, 1 warning, 1 failed" in page
    assert "Fix: start <code>makegood worker</code>" in page
    assert "&lt;b&gt;slow&lt;/b&gt;" in page


async def test_views_within_seconds_share_one_run(operator: Visitor, checks: Checks) -> None:
    checks.ended.set()

    for _ in range(3):
        await operator.open("/instance", **{"HX-Request": "true"})

    assert checks.runs == 1


async def test_checks_run_again_after_a_while_and_never_twice_at_a_time(checks: Checks) -> None:
    at = [0.0]
    examination = Examination(checks, now=lambda: START, clock=lambda: at[0], wait_seconds=0.02)

    slow = await asyncio.gather(examination.latest(), examination.latest())
    checks.ended.set()
    first = await examination.latest()
    at[0] = AGAIN_AFTER_SECONDS - 1
    same = await examination.latest()
    at[0] = AGAIN_AFTER_SECONDS
    checks.ended.clear()
    while_running = await examination.latest()

    assert slow == [None, None]
    assert first is not None
    assert first.findings == FOUND
    assert same is first
    assert while_running is first
    assert checks.runs == 2
    checks.ended.set()


async def test_first_checks_are_said_to_run(
    parts: ConsoleDependencies, operator: Visitor, checks: Checks
) -> None:
    page = (await operator.open("/instance")).text
    checks.ended.set()

    assert "Checking…" in page
    async with visiting(replace(parts, examine=None)) as visitor:
        visitor.client.cookies = operator.client.cookies
        assert "This process runs no checks" in (await visitor.open("/instance")).text


async def test_versions_are_those_of_the_command(operator: Visitor, checks: Checks) -> None:
    checks.ended.set()

    page = (await operator.open("/instance")).text

    for name in ("makegood", "temporalio"):
        assert f"<dd><code>{version(name)}</code></dd>" in page
    assert "<dd>SQLite</dd>" in page


async def test_users_are_listed_with_their_rights(
    member: Visitor, world: ConsoleWorld, project: CreatedProject
) -> None:
    await world.member("olga", project.project.id, Role.OWNER)

    page = (await member.open("/instance/users")).text

    rows = re.findall(r"<tr>\s*<td class=.col-what.>(.*?)</tr>", page, re.DOTALL)
    assert [(EMAIL in rows[0], "Administrator" in rows[0]), "olga@" in rows[1]] == [
        (True, True),
        True,
    ]
    assert "<td>1 project</td>" in rows[1]


async def test_only_administrators_are_led_there(
    world: ConsoleWorld, project: CreatedProject, checks: Checks
) -> None:
    checks.ended.set()
    owner = await world.member("olga", project.project.id, Role.OWNER)
    administrator = await world.administrator()

    led = ['href="/instance"' in (await one.get("/events")).text for one in (owner, administrator)]
    refused = [(await owner.get(path)).status_code for path in ("/instance", "/instance/users")]

    assert led == [False, True]
    assert refused == [403, 403]


@pytest.mark.parametrize("path", ["/instance", "/instance/users"])
async def test_page_takes_few_queries(operator: Visitor, checks: Checks, path: str) -> None:
    checks.ended.set()
    statements: list[str] = []
    with recorded_statements(statements):
        assert (await operator.open(path)).status_code == 200

    asked = [one for one in statements if one.lstrip()[:4].upper() in ("SELE", "WITH")]
    assert len(asked) <= MOST_QUERIES, "\n".join(asked)
