"""The run as one picture: a lane for each target with its faults, and lanes for what came in, was
refused, and followed.

SVG as text, drawn with the classes of `report.html`. It judges nothing. Called by `report`.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from tests.faults.installation.history import History
from tests.faults.rules.reading import instant, read
from tests.faults.rules.record import Fault, Record
from tests.faults.rules.verdict import Verdict

WIDTH, LEFT, RIGHT = 1160, 150, 64
FAULT_HEIGHT, LANE_HEIGHT, GAP, TOP = 24, 52, 12, 8
MOST_BINS = 200
BIN_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
TICK_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
MOST_TICKS = 14
CHARACTER = 6.2  # the width of one in a fault's label, about


@dataclass(frozen=True, slots=True)
class Scale:
    """Where an instant is across the picture."""

    began_at: float
    ended_at: float

    @property
    def seconds(self) -> float:
        return max(1.0, self.ended_at - self.began_at)

    def x(self, at: float) -> float:
        share = (at - self.began_at) / self.seconds
        return LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT)


@dataclass(frozen=True, slots=True)
class Lane:
    """Instants to be drawn as how many there are in each stretch of time; per second where
    `is_rate`.
    """

    name: str
    tone: str
    instants: tuple[float, ...]
    is_rate: bool


def scale_of(history: History) -> Scale:
    """The time axis: from the first entry to the last one that is not an observation."""
    instants = [entry.at for entry in history.entries if entry.kind != "observed"] or [0.0]
    return Scale(min(instants), max(instants))


def picture(history: History, verdict: Verdict) -> str:
    """The SVG of a run."""
    record, scale = read(history), scale_of(history)
    targets = sorted({fault.target for fault in record.faults})
    lanes = _lanes(record, verdict)
    faults_height = FAULT_HEIGHT * len(targets) + (GAP if targets else 0)
    height = TOP + faults_height + (LANE_HEIGHT + GAP) * len(lanes) + 26
    parts = [
        f'<svg class="run" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="The run over'
        ' time">'
    ]
    parts += _ground(record, scale, height)
    for row, target in enumerate(targets):
        hits = [fault for fault in record.faults if fault.target == target]
        parts += _fault_lane(target, hits, scale, TOP + row * FAULT_HEIGHT)
    for row, lane in enumerate(lanes):
        parts += _lane(lane, scale, TOP + faults_height + row * (LANE_HEIGHT + GAP))
    return "\n".join([*parts, *_axis(scale, height), "</svg>"])


def _lanes(record: Record, verdict: Verdict) -> list[Lane]:
    accepted = (
        one.answered_at
        for one in record.requests
        if one.endpoint == "receipt" and one.is_acknowledged
    )
    opened = (event.incident.opened_at for event in record.events.values() if event.incident)
    resolved = (
        instant(one["at"])
        for event in record.events.values()
        for one in event.timeline("incident_resolved")
    )
    refused = (one.answered_at or one.sent_at for one in record.requests if not one.is_acknowledged)
    lanes = [
        Lane("receipts accepted", "accent", tuple(at for at in accepted if at), True),
        Lane("refused or unknown", "bad", tuple(refused), True),
        Lane("incidents opened", "busy", tuple(opened), False),
        Lane("mails", "wait", tuple(mail.at for mail in record.mails), False),
        Lane("callbacks", "call", tuple(callback.at for callback in record.callbacks), False),
        Lane("incidents resolved", "good", tuple(resolved), False),
    ]
    violated = tuple(violation.at[-1] for violation in verdict.violations if violation.at)
    return [*lanes, Lane("violations", "bad", violated, False)] if violated else lanes


def _ground(record: Record, scale: Scale, height: int) -> Iterable[str]:
    """Each fault as a shadow over all lanes, and the lines of the ticks."""
    bottom = height - 22
    for fault in record.faults:
        x, width = _span(fault, scale)
        yield (
            f'<rect class="shadow" x="{x:.1f}" y="{TOP}" width="{width:.1f}"'
            f' height="{bottom - TOP}"/>'
        )
    for seconds in _ticks(scale):
        x = scale.x(scale.began_at + seconds)
        yield f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>'


def _fault_lane(target: str, faults: list[Fault], scale: Scale, y: int) -> Iterable[str]:
    middle = y + FAULT_HEIGHT / 2
    yield f'<text class="name" x="{LEFT - 12}" y="{middle + 4}">{escape(target)}</text>'
    yield f'<line class="rail" x1="{LEFT}" y1="{middle}" x2="{WIDTH - RIGHT}" y2="{middle}"/>'
    for fault in faults:
        x, width = _span(fault, scale)
        lasted = (
            f"{escape(fault.kind)} of {escape(target)}, {fault.began_at - scale.began_at:.1f} s to "
        )
        lasted += f"{fault.ended_at - scale.began_at:.1f} s"
        place = f'x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="{FAULT_HEIGHT - 8}" rx="3"'
        yield f'<rect class="fault {_tone(fault.kind)}" {place}>'
        yield f"<title>{lasted}</title></rect>"
        if width > CHARACTER * len(fault.kind) + 8:
            yield (
                f'<text class="kind" x="{x + 6:.1f}" y="{middle + 3.5}">{escape(fault.kind)}</text>'
            )


def _lane(lane: Lane, scale: Scale, y: int) -> Iterable[str]:
    base = y + LANE_HEIGHT
    wide = next((one for one in BIN_SECONDS if scale.seconds / one <= MOST_BINS), BIN_SECONDS[-1])
    binned = Counter(int((at - scale.began_at) // wide) for at in lane.instants)
    most = max(binned.values(), default=0)
    peak = f"{most / wide:.4g}/s" if lane.is_rate else f"{most} in {wide:g} s"
    yield (
        f'<text class="name" x="{LEFT - 12}"'
        f' y="{base - LANE_HEIGHT / 2}">{escape(lane.name)}</text>'
    )
    yield (
        f'<text class="sum" x="{LEFT - 12}"'
        f' y="{base - LANE_HEIGHT / 2 + 15}">{len(lane.instants):,}</text>'
    )
    yield f'<line class="rail" x1="{LEFT}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}"/>'
    if most:
        yield f'<text class="peak" x="{WIDTH - RIGHT + 8}" y="{y + 9}">{peak}</text>'
    for number, count in sorted(binned.items()):
        begin, end = scale.began_at + number * wide, scale.began_at + (number + 1) * wide
        x, width, tall = (
            scale.x(begin),
            max(1.2, scale.x(end) - scale.x(begin) - 0.6),
            max(1.5, LANE_HEIGHT * count / most),
        )
        yield (
            f'<rect class="bar {lane.tone}" x="{x:.1f}" y="{base - tall:.1f}" width="{width:.1f}"'
            f' height="{tall:.1f}">'
        )
        yield (
            f"<title>{escape(lane.name)}: {count} from {begin - scale.began_at:g} s</title></rect>"
        )


def _axis(scale: Scale, height: int) -> Iterable[str]:
    for seconds in _ticks(scale):
        x = scale.x(scale.began_at + seconds)
        yield f'<text class="tick" x="{x:.1f}" y="{height - 6}">{seconds} s</text>'


def _ticks(scale: Scale) -> range:
    step = next(
        (one for one in TICK_SECONDS if scale.seconds / one <= MOST_TICKS), TICK_SECONDS[-1]
    )
    return range(0, int(scale.seconds) + 1, step)


def _span(fault: Fault, scale: Scale) -> tuple[float, float]:
    """Where it begins, and how wide it is: never too thin to be seen."""
    x = scale.x(fault.began_at)
    return x, max(4.0, scale.x(fault.ended_at) - x)


def _tone(kind: str) -> str:
    tones = (("kill", "bad"), ("stop", "busy"), ("mail", "wait"), ("calls", "call"))
    return next((tone for start, tone in tones if kind.startswith(start)), "store")
