"""Forms of alert destinations on the page of a project. No target is ever shown again."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from activities.alerts.all_channels import build_channels
from activities.alerts.trial import TrialSender
from api.console.composition import ConsoleDependencies
from domain.alerts import AlertChannel, AlertDestination
from domain.projects import CreatedProject
from operations.composition import Operations
from store.db.database import Database
from store.projects.projects import read_project
from tests.activities.alerts.http.receiver import LOOPBACK, Receiver, receiving
from tests.console.conftest import Visitor, accept_any_url

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

URL = "https://hooks.example/services/T0/B0/very-secret-token"
TARGETS = {
    "email": "b@shop.example",
    "slack": URL,
    "teams": URL,
    "pagerduty": "0123456789abcdef0123456789abcdef",
    "webhook": URL,
}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def parts(parts: ConsoleDependencies, receiver: Receiver) -> ConsoleDependencies:
    """The console, whose test alerts may go to loopback."""
    channels = build_channels(
        smtp_url="smtp://127.0.0.1:1",
        mail_from="makegood@example.com",
        egress_allow=LOOPBACK,
        pagerduty_url=receiver.url,
    )
    operations = Operations.build(
        database=parts.database,
        sealer=parts.sealer,
        judge_repair_url=accept_any_url,
        send_trial=TrialSender(channels, public_url=parts.public_url),
    )
    return replace(parts, operations=operations)


async def submit(
    visitor: Visitor, project: CreatedProject, act: str = "", **fields: str
) -> tuple[str, str]:
    """Submit a form of the section. Returns the address, and the page with its notice."""
    page = f"/projects/{project.project.id}"
    answer = await visitor.post(f"{page}/destinations{act}", page=page, **fields)
    assert answer.status_code == 303, answer.text
    to = answer.headers["location"]
    return to, (await visitor.open(to)).text


async def listed(database: Database, project: CreatedProject) -> tuple[AlertDestination, ...]:
    async with database.reading() as session:
        return (await read_project(session, project.project.id)).alert_destinations


async def of_kind(database: Database, project: CreatedProject, kind: str) -> AlertDestination:
    """The newest destination of the kind."""
    return [one for one in await listed(database, project) if one.channel == kind][-1]


@pytest.mark.parametrize("kind", AlertChannel)
async def test_destination_of_each_kind_is_added_and_its_target_not_shown(
    operator: Visitor, project: CreatedProject, database: Database, kind: AlertChannel
) -> None:
    to, page = await submit(
        operator, project, kind=kind, target=TARGETS[kind], label="<on call>", all_events="on"
    )

    added = await of_kind(database, project, kind)
    assert to == f"/projects/{project.project.id}#destinations"
    assert "Destination added." in page
    assert "&lt;on call&gt;" in page
    assert "very-secret" not in page
    assert (added.events, added.label) == (None, "<on call>")
    assert ("whsec_" in page) == (kind is AlertChannel.WEBHOOK)
    assert "whsec_" not in (await operator.open(to)).text, "it is shown once"


async def test_chosen_events_are_saved_and_shown(
    operator: Visitor, project: CreatedProject, database: Database
) -> None:
    chosen = {"event:incident.opened": "on", "event:group.grew": "on"}
    await submit(operator, project, kind="slack", target=URL, **chosen)
    slack = await of_kind(database, project, "slack")

    _, page = await submit(operator, project, f"/{slack.id}", label="all", all_events="on")
    _, none = await submit(operator, project, f"/{slack.id}", label="none")

    assert slack.events == {"incident_opened", "group_grew"}
    saved = await of_kind(database, project, "slack")
    assert (saved.events, saved.label) == (None, "all")
    assert "Destination saved." in page
    assert "Choose at least one event" in none


async def test_test_button_shows_what_the_other_side_said(
    operator: Visitor, project: CreatedProject, database: Database, receiver: Receiver
) -> None:
    receiver.statuses, receiver.content = [200, 404], b"<b>ok</b>"
    await submit(
        operator, project, kind="slack", target=f"{receiver.url}/very-secret", all_events="on"
    )
    slack = await of_kind(database, project, "slack")

    _, good = await submit(operator, project, f"/{slack.id}/test")
    _, bad = await submit(operator, project, f"/{slack.id}/test")

    assert "Slack accepted the test alert. It answered 200" in good
    assert "&lt;b&gt;ok&lt;/b&gt;" in good
    assert "Slack did not accept the test alert: HTTP 404. It answered 404" in bad
    assert len(receiver.got) == 2
    assert "Last failure: HTTP 404" in bad
    assert "very-secret" not in good + bad


async def test_destination_is_disabled_enabled_and_removed(
    operator: Visitor, project: CreatedProject, database: Database
) -> None:
    (mail,) = await listed(database, project)

    _, disabled = await submit(operator, project, f"/{mail.id}/disable")
    is_disabled = (await of_kind(database, project, "email")).disabled_at is not None
    _, enabled = await submit(operator, project, f"/{mail.id}/enable")
    is_enabled = (await of_kind(database, project, "email")).disabled_at is None
    _, removed = await submit(operator, project, f"/{mail.id}/remove")

    assert (is_disabled, is_enabled) == (True, True)
    assert "Every destination is disabled: nobody is alerted." in disabled
    assert "Destination enabled." in enabled
    assert "No destinations yet: nobody is alerted." in removed
    assert await listed(database, project) == ()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "email", "target": "no address"}, "address"),
        ({"kind": "slack", "target": ""}, "This field is required."),
        ({"kind": "pagerduty", "target": "short"}, "notice bad"),
        ({"kind": "sms", "target": "1"}, "Must be"),
    ],
)
async def test_wrong_form_says_what_is_wrong_and_repeats_no_target(
    operator: Visitor,
    project: CreatedProject,
    database: Database,
    fields: dict[str, str],
    said: str,
) -> None:
    _, page = await submit(operator, project, **{**fields, "all_events": "on"})

    assert 'class="notice bad"' in page
    assert said in page
    assert len(await listed(database, project)) == 1
