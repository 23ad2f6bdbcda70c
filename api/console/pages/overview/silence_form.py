"""The fields of a project's form that are about silence, as typed and as REST's PATCH has them."""

from collections.abc import Mapping

from domain.projects import Project

SILENCE_FIELDS = ("silent_after_minutes", "silent_event_types")


def silence_fields(project: Project) -> dict[str, object]:
    """The stored settings as the form's fields."""
    lines = (
        name if minutes is None else f"{name} {minutes}"
        for name, minutes in project.silent_event_types
    )
    return {
        "silent_after_minutes": project.silent_after_minutes,
        "silent_event_types": "\n".join(lines),
    }


def silence_changes(fields: Mapping[str, str]) -> dict[str, object]:
    """The form as the body of REST's PATCH. What is not in the form is left out."""
    changes: dict[str, object] = {}
    if "silent_after_minutes" in fields:
        changes["silent_after_minutes"] = _minutes(fields["silent_after_minutes"])
    if "silent_event_types" in fields:
        typed = (line.split(None, 1) for line in fields["silent_event_types"].splitlines())
        changes["silent_event_types"] = {
            words[0]: _minutes(words[1]) if len(words) > 1 else None for words in typed if words
        }
    return changes


def _minutes(text: str) -> int | str | None:
    """The number typed, None for nothing. Other text is left for the shared validation."""
    text = text.strip()
    if not text:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else text
