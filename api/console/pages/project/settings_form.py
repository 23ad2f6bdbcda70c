"""The forms of a project's settings: as stored, as typed, and as the body of REST's PATCH.

Each section of the page has a form of its own, with some of the settings.
"""

from collections.abc import Mapping
from typing import Any

from api.console.pages.overview.silence_form import SILENCE_FIELDS, silence_changes, silence_fields
from domain.projects import Project
from operations.responses.projects import int_if_whole

# The sets that a project adds names to.
SETS = ("providers", "event_types", "effect_types")
WINDOWS = ("group_window_minutes", "alert_window_minutes")
SECTIONS = (
    *("silence", "repair-url", "alert-settings", "deadlines", "names"),
    *("retention", "general"),
)
# The values of a form's fields, as typed or as stored.
Typed = Mapping[str, object]


def settings_fields(project: Project) -> Typed:
    """The stored settings as the fields of the forms."""
    return {
        "name": project.name,
        "repair_url": project.repair_url,
        "timeout_minutes": int_if_whole(project.timeout_minutes),
        **{name: int_if_whole(getattr(project, name)) for name in WINDOWS},
        "alert_emails": project.alert_emails,
        "late_result": project.late_result,
        "early_results": project.early_results,
        "snapshots": project.snapshots,
        "acknowledge_minutes": project.acknowledge_minutes,
        **silence_fields(project),
        **{name: getattr(project, name).current for name in SETS},
    }


def typed_settings(project: Project, changes: Typed, fields: Mapping[str, str]) -> Typed:
    """The settings as typed, with those that are not in the form as stored."""
    as_text = {name: fields[name] for name in SILENCE_FIELDS if name in fields}
    section = fields.get("section", "")
    return {**settings_fields(project), **changes, **as_text, "section": section}


# The body of a PATCH. Any: values are of any JSON type.
def settings_changes(fields: Mapping[str, str], project: Project) -> dict[str, Any]:
    """The form as the body of the REST API's PATCH: the settings that it has.

    An unchanged repair URL is left out, because saving it would resolve and check its host again.
    """
    changes: dict[str, Any] = silence_changes(fields)
    for name in ("name", "late_result", "early_results"):
        if name in fields:
            changes[name] = fields[name].strip()
    for name in ("timeout_minutes", "acknowledge_minutes", *WINDOWS):
        if name in fields:
            changes[name] = _number(fields[name])
    for name in ("alert_emails", *SETS):
        if name in fields:
            changes[name] = words(fields[name])
    if "repair_url" in fields:
        repair_url = fields["repair_url"].strip() or None
        if repair_url != project.repair_url or project.repair_url_gone:
            changes["repair_url"] = repair_url
    # A box that is not checked is not sent.
    if "snapshots" in fields or fields.get("section") == "retention":
        changes["snapshots"] = fields.get("snapshots") == "on"
    return changes


def words(text: str) -> list[str]:
    """The words of a text area, between spaces, commas or line breaks."""
    return text.replace(",", " ").split()


def _number(text: str) -> int | float | str:
    """The number typed. Other text is returned as it is, for the shared validation to reject."""
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number
