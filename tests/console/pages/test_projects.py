"""Projects: settings are validated as in the REST API, and secrets are shown once."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from domain.alerts import AlertChannel
from domain.projects import CreatedProject
from store.alerts.destinations import add_secret_destination
from store.crypto.encryption import Sealer
from tests.console.conftest import ConsoleStubs, Visitor
from tests.support.given import Story


def secrets_in(page: str) -> dict[str, str]:
    return dict(re.findall(r'<code data-secret="([^"]+)">([^<]+)</code>', page))


async def settings_of(visitor: Visitor, project: CreatedProject, **changes: str) -> tuple[int, str]:
    """Submit the settings with these changes. Returns the status and the page."""
    path = f"/projects/{project.project.id}"
    fields = {
        "name": "shop",
        "repair_url": "https://shop.example/repair",
        "timeout_minutes": "30",
        "alert_emails": "ops@shop.example",
        "late_result": "resolve",
    }
    answer = await visitor.post(path, page=path, **(fields | changes))
    return answer.status_code, (
        await visitor.open(path)
    ).text if answer.status_code == 303 else answer.text


async def test_a_new_project_shows_its_secrets_once(operator: Visitor) -> None:
    answer = await operator.post(
        "/projects", page="/projects", name="Acme", mode="live", repair_url="", alert_emails=""
    )

    path = answer.headers["location"]
    first, second = (await operator.open(path)).text, (await operator.open(path)).text
    assert secrets_in(first).keys() == {"API key", "Signing secret"}
    assert secrets_in(first)["API key"].startswith("sk_live_")
    assert secrets_in(second) == {}
    assert "This project has no repair URL" in second


async def test_a_taken_name_is_reported_at_its_field(
    operator: Visitor, project: CreatedProject
) -> None:
    answer = await operator.post("/projects", page="/projects", name="shop", mode="test")

    assert answer.status_code == 422
    assert "Another project has this name." in answer.text
    assert 'value="shop"' in answer.text


async def test_the_list_names_a_secret_destination_by_its_channel(
    operator: Visitor, story: Story, sealer: Sealer
) -> None:
    target = "hidden-5c1d@shop.example"
    async with story.database.transaction() as session:
        await add_secret_destination(
            session,
            sealer,
            project_id=story.project.id,
            channel=AlertChannel.EMAIL,
            target=target,
        )

    page = (await operator.open("/projects")).text

    assert '<td class="col-to">ops@shop.example, Email</td>' in page
    assert target not in page


async def test_settings_are_saved(operator: Visitor, project: CreatedProject) -> None:
    status, page = await settings_of(
        operator,
        project,
        name="Shop Berlin",
        timeout_minutes="0.5",
        alert_emails="a@shop.example, b@shop.example\nc@shop.example",
        late_result="note",
        snapshots="on",
    )

    assert status == 303
    assert "Settings saved." in page
    assert "Shop Berlin" in page
    assert 'value="0.5"' in page
    assert "a@shop.example\nb@shop.example\nc@shop.example" in page
    assert 'value="note" checked' in page
    assert 'name="snapshots" checked' in page


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "),
        ("timeout_minutes", "soon"),
        ("timeout_minutes", "0"),
        ("alert_emails", "nobody"),
        ("late_result", "shrug"),
    ],
)
async def test_an_invalid_setting_is_reported_at_its_field(
    operator: Visitor, project: CreatedProject, field: str, value: str
) -> None:
    status, page = await settings_of(operator, project, **{field: value})

    assert status == 422
    assert f'id="{field}-problem"' in page


async def test_a_new_key_is_shown_once_and_can_be_revoked(
    operator: Visitor, project: CreatedProject
) -> None:
    path = f"/projects/{project.project.id}"
    await operator.post(f"{path}/keys", page=path, label="Support tool", scopes="read")
    shown = (await operator.open(path)).text
    listed = (await operator.open(path)).text
    action = re.findall(r'action="([^"]+/revoke)"', listed)[-1]
    await operator.post(action, page=path)
    revoked = (await operator.open(path)).text

    assert secrets_in(shown)["API key"].startswith("sk_test_")
    assert secrets_in(listed) == {}
    assert '<span class="tag">read</span>' in listed
    assert ">Revoked<" not in listed
    assert ">Revoked<" in revoked


async def test_several_scopes_can_be_given(operator: Visitor, project: CreatedProject) -> None:
    path = f"/projects/{project.project.id}"
    token = re.findall(r'name="form_token" value="(\w+)"', (await operator.open(path)).text)[0]

    await operator.client.post(
        f"{path}/keys",
        data={"form_token": token, "label": "CI", "scopes": ["ingest", "operate", "root"]},
    )

    page = (await operator.open(path)).text
    assert '<span class="tag">ingest</span> <span class="tag">operate</span>' in page
    assert "root" not in page


async def test_a_rotation_shows_the_next_secret_once_and_is_finished(
    operator: Visitor, project: CreatedProject
) -> None:
    path = f"/projects/{project.project.id}"
    before = (await operator.open(path)).text
    await operator.post(f"{path}/signing-secret", page=path)
    first, second = (await operator.open(path)).text, (await operator.open(path)).text
    await operator.post(f"{path}/signing-secret/finish", page=path)
    finished, after = (await operator.open(path)).text, (await operator.open(path)).text

    assert secrets_in(first)["Signing secret"].startswith("whsec_")
    assert secrets_in(first)["Signing secret"] != project.signing_secret
    assert secrets_in(second) == {}
    assert "both signatures until <time" in second
    assert "no longer signed with the old secret" in finished
    assert [
        page
        for page in (before, after)
        if "Rotation in progress" in page or "/signing-secret/finish" in page
    ] == []


async def test_finishing_without_a_rotation_is_reported(
    operator: Visitor, project: CreatedProject
) -> None:
    path = f"/projects/{project.project.id}"
    token = re.findall(r'name="form_token" value="(\w+)"', (await operator.open(path)).text)[0]

    await operator.client.post(f"{path}/signing-secret/finish", data={"form_token": token})

    assert 'class="notice bad"' in (await operator.open(path)).text


async def test_an_expired_key_is_shown_as_expired(
    operator: Visitor, project: CreatedProject, stubs: ConsoleStubs
) -> None:
    path = f"/projects/{project.project.id}"
    stubs.at = datetime.now(UTC)
    await operator.post(
        f"{path}/keys", page=path, label="Trial", scopes="read", expires_in_days="30"
    )

    fresh = (await operator.open(path)).text
    stubs.at += timedelta(days=31)
    later = (await operator.open(path)).text

    assert "expires <time" in fresh
    assert "expired <time" in later
    assert "expired <time" not in fresh


async def test_a_project_is_deleted_by_typing_its_name(
    operator: Visitor, story: Story, project: CreatedProject
) -> None:
    await story.receipt()
    path = f"/projects/{project.project.id}"
    mistyped = await operator.post(f"{path}/delete", page=path, confirmation="shap", end_open="on")
    mistyped_page = (await operator.open(path)).text
    open_ones = await operator.post(f"{path}/delete", page=path, confirmation="shop")
    kept = (await operator.open(path)).text

    deleted = await operator.post(f"{path}/delete", page=path, confirmation="shop", end_open="on")

    assert [answer.headers["location"] for answer in (mistyped, open_ones, deleted)] == [
        path,
        path,
        "/projects",
    ]
    assert "not the name of the project" in mistyped_page
    assert "1 receipts have not ended" in kept
    assert "shop is deleted" in (await operator.open("/projects")).text
    log = (await operator.open("/audit")).text
    assert ("Receipts ended" in log, f'href="{path}"' in log) == (True, False)
    assert (await operator.open(path)).status_code == 404


async def test_own_names_are_saved_and_offered_as_filters(
    operator: Visitor, project: CreatedProject
) -> None:
    status, page = await settings_of(
        operator,
        project,
        providers="paddle, internal",
        event_types="invoice.voided",
        effect_types="license_issue",
    )

    incidents = (await operator.open("/incidents?provider=internal")).text

    assert status == 303
    assert "paddle\ninternal</textarea>" in page
    assert '<option value="internal" selected>Internal</option>' in incidents
    assert "<option>invoice.voided</option>" in incidents
    assert '<option value="license_issue">License issue</option>' in incidents


async def test_ill_formed_own_name_is_reported_at_its_field(
    operator: Visitor, project: CreatedProject
) -> None:
    status, page = await settings_of(operator, project, providers="Paddle")

    assert status == 422
    assert 'id="providers-problem"' in page
    assert ">Paddle</textarea>" in page
