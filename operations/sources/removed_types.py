"""What a removed type means for sources, and for receipts that are expected already. Pure.

A type is removed from a source's list, or from the project's own types while a source expects it.
"""

from collections.abc import Iterable, Sequence

from domain.projects import Project
from domain.sources.source import Source
from operations.names import accepted_effect_types, accepted_event_types

# So that a sentence stays short: a source may expect 50 pairs, and a project has 50 sources.
NAMED = 3
STAY = (
    "Receipts that are expected already stay: each waits for the app's receipt, and opens an"
    " incident, missing_receipt, if none comes in time."
)
REFUSED = (
    "The app's receipts with it are refused, so each event of it that the source sees, or has"
    " seen and still expects, opens an incident, missing_receipt. Remove it from the source, or"
    " add it to the project again."
)


def no_longer_expected(before: Source, after: Source) -> tuple[str, ...]:
    """What the removal of these expectations means; empty if none was removed."""
    kept = {(one.event_type, one.effect_type) for one in after.expects}
    pairs = [(one.event_type, one.effect_type) for one in before.expects]
    removed = [f"{event} for {effect}" for event, effect in pairs if (event, effect) not in kept]
    if not removed:
        return ()
    return (f"No longer expected: {_few(removed)}. New events of it make nothing. {STAY}",)


def still_expected(project: Project, sources: Iterable[Source]) -> tuple[str, ...]:
    """What it means that sources expect types that the project does not accept; empty if none
    does.
    """
    found = [
        f"{name} (by {source.name})"
        for source in sources
        for name in sorted(unaccepted(project, source))
    ]
    if not found:
        return ()
    return (f"Still expected, but not accepted by the project: {_few(found)}. {REFUSED}",)


def unaccepted(project: Project, source: Source) -> set[str]:
    """The event and effect types that the source expects and the project does not accept."""
    events = {one.event_type for one in source.expects}
    effects = {one.effect_type for one in source.expects}
    accepted = accepted_event_types(project, source.kind.provider)
    return (events - {*accepted}) | (effects - {*accepted_effect_types(project)})


def _few(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
