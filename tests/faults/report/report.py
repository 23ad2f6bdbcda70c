"""One run as one self-contained HTML file: the verdict, the figures, a picture of the run, and
each violation with its story.

No script, nothing loaded from elsewhere. It decides nothing: what it says of right and wrong is the
verdict's. Called by `run`'s command line; a saved history and its verdict give the same file.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jinja2
from markupsafe import Markup

from tests.faults.installation.history import Entry, History
from tests.faults.report.picture import picture, scale_of
from tests.faults.rules.reading import instant
from tests.faults.rules.verdict import MEANINGS, Rule, Verdict, Violation

MOST_OF_A_RULE = 25
MOST_LINES = 80
LONGEST_LINE = 400
AROUND_SECONDS = 30.0

_ID = re.compile(r"(?:evt|inc|rpl)_\w+")
_NAMES = ("request", "key", "message_id", "order")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a violation's story:

    seconds since the run began, what it is, and the rest as text.
    """

    seconds: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class ShownViolation:
    """A violation as the page shows it; `left_off` counts the lines beyond those shown."""

    violation: Violation
    seconds: tuple[float, ...]
    story: list[Line]
    left_off: int


@dataclass(frozen=True, slots=True)
class RuleSummary:
    """A rule with its violations; `count` may be more than are shown."""

    rule: Rule
    meaning: str
    count: int
    violations: list[ShownViolation]


def write_report(
    history: History, verdict: Verdict, path: Path, *, parameters: Mapping[str, object]
) -> None:
    """Write the file; `parameters` say how the run was made (its seed, above all) and are shown as
    they are.
    """
    scale = scale_of(history)
    story = Story(history)
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html")
    page = template.render(
        verdict=verdict,
        parameters={name: str(value) for name, value in parameters.items()},
        began=datetime.fromtimestamp(scale.began_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        lasted_seconds=scale.seconds,
        picture=Markup(picture(history, verdict)),  # our own SVG, its texts escaped
        rules=[_summarize(rule, verdict, story) for rule in Rule],
        entries=len(history.entries),
    )
    path.write_text(page)


class Story:
    """Finds the entries about something:

    those that name one of its ids, and those of the same order.
    """

    def __init__(self, history: History) -> None:
        self._began_at = scale_of(history).began_at
        self._entries = history.entries
        self._by_name: defaultdict[str, set[int]] = defaultdict(set)
        for index, entry in enumerate(history.entries):
            for name in _names(entry):
                self._by_name[name].add(index)

    def seconds(self, at: float) -> float:
        return at - self._began_at

    def about(self, violation: Violation) -> list[Line]:
        """The lines about a violation in the order of time, the faults around it among them."""
        found = self._named(violation.ids)
        # Twice: from an event to its requests' orders, and from those to every request of theirs.
        for _ in range(2):
            found |= self._named(
                str(self._entries[one].fields[name])
                for one in found
                for name in _links(self._entries[one])
            )
        lines = [line for one in sorted(found) for line in self._lines(self._entries[one])]
        return sorted([*lines, *self._faults_around(violation)], key=lambda line: line.seconds)

    def _named(self, names: Iterable[str]) -> set[int]:
        return {index for name in names if name for index in self._by_name.get(name, ())}

    def _lines(self, entry: Entry) -> Iterable[Line]:
        if entry.kind != "observed":
            yield Line(self.seconds(entry.at), entry.kind, _shortened(entry.fields))
            return
        event = entry["event"]
        yield Line(
            self.seconds(entry.at),
            "observed",
            _shortened({k: v for k, v in event.items() if k != "timeline"}),
        )
        for shown in event["timeline"]:
            rest = {name: value for name, value in shown.items() if name not in ("at", "kind")}
            yield Line(
                self.seconds(instant(shown["at"])), f"timeline: {shown['kind']}", _shortened(rest)
            )

    def _faults_around(self, violation: Violation) -> Iterable[Line]:
        if violation.at:
            start, end = min(violation.at) - AROUND_SECONDS, max(violation.at)
            for entry in self._entries:
                if entry.kind in ("fault_began", "fault_ended") and start <= entry.at <= end:
                    yield Line(
                        self.seconds(entry.at), entry.kind, f"{entry['kind']} of {entry['target']}"
                    )


def _summarize(rule: Rule, verdict: Verdict, story: Story) -> RuleSummary:
    violations = verdict.violated(rule)
    return RuleSummary(
        rule,
        MEANINGS[rule],
        len(violations),
        [_show(one, story) for one in violations[:MOST_OF_A_RULE]],
    )


def _show(violation: Violation, story: Story) -> ShownViolation:
    lines = story.about(violation)
    seconds = tuple(story.seconds(at) for at in violation.at[:4])
    return ShownViolation(violation, seconds, lines[:MOST_LINES], max(0, len(lines) - MOST_LINES))


def _names(entry: Entry) -> set[str]:
    """Everything that an entry can be found by."""
    names = {str(entry.fields[name]) for name in _NAMES if entry.fields.get(name)}
    return names | set(_ID.findall(json.dumps(entry.fields)))


def _links(entry: Entry) -> tuple[str, ...]:
    """What leads from a request on to what else belongs to it."""
    return {"sent": ("request", "order"), "answered": ("request",), "unknown": ("request",)}.get(
        entry.kind, ()
    )


def _shortened(fields: Mapping[str, object]) -> str:
    text = "  ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in fields.items()
    )
    return text if len(text) <= LONGEST_LINE else text[:LONGEST_LINE] + " …"
