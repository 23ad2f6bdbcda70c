"""Draws the life of a receipt from `domain.lifecycle.TRANSITIONS`: the picture, and the table in
`how-recovery-works.md`.

    .venv/bin/python docs/make_lifecycle.py

writes both; `tests/test_docs.py` fails while either differs from the code.
"""

import sys
from html import escape
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from domain.lifecycle import (  # noqa: E402
    END_STATES,
    OPEN_STATES,
    TRANSITIONS,
    LifecycleState,
    Transition,
    Trigger,
)

PICTURE = DOCS / "pictures" / "lifecycle.svg"
PAGE = DOCS / "how-recovery-works.md"
BEGIN, END = "<!-- the table: made by docs/make_lifecycle.py -->", "<!-- end of the table -->"
GROUP = "incident"
WIDTH, HEIGHT = 1110, 660
BOX_WIDTH, BOX_HEIGHT = 170, 56
LINE_HEIGHT = 17
# Centres of the boxes; the incident's states stand in a frame of their own.
CENTRES: dict[str, tuple[int, int]] = {
    LifecycleState.EXPECTED: (105, 150),
    LifecycleState.WAITING: (240, 380),
    LifecycleState.APPLIED: (105, 624),
    LifecycleState.OPEN: (560, 330),
    LifecycleState.HELD: (800, 155),
    LifecycleState.CALLING: (930, 280),
    LifecycleState.AWAITING_RESULT: (930, 470),
    LifecycleState.RECOVERED: (750, 624),
    LifecycleState.CLOSED: (750, 36),
}
FRAME = (455, 115, 580, 415)
STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1f2937; text-anchor: middle; }
  .name { font-weight: 600; font-size: 15px; }
  .why { font-size: 13px; fill: #374151; paint-order: stroke; stroke: #ffffff;
         stroke-width: 6px; stroke-linejoin: round; }
  .box { fill: #eef2ff; stroke: #4f46e5; stroke-width: 1.5; }
  .incident { fill: #fff7ed; stroke: #ea580c; }
  .end { fill: #ecfdf5; stroke: #059669; }
  .frame { fill: none; stroke: #ea580c; stroke-dasharray: 5 5; }
  .edge { fill: none; stroke: #4b5563; stroke-width: 1.5; marker-end: url(#tip); }"""

Point = tuple[float, float]


def draw_picture() -> str:
    """The picture, as SVG."""
    x, y, width, height = FRAME
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
            ' aria-label="The life of a receipt">'
        ),
        f"<style>{STYLE}\n</style>",
        (
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8"'
            ' markerHeight="8" orient="auto"><path d="M0 0 L10 5 L0 10 z"'
            ' fill="#4b5563"/></marker></defs>'
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="#ffffff"/>',
        f'<rect class="frame" x="{x}" y="{y}" width="{width}" height="{height}" rx="14"/>',
        f'<text x="{x + 60}" y="{y + height - 14}" class="name">{GROUP}</text>',
    ]
    parts += [_edge(start, to, triggers) for (start, to), triggers in sorted(_edges().items())]
    parts += [_box(state) for state in LifecycleState]
    return "\n".join([*parts, "</svg>", ""])


def write_table() -> str:
    """The table of every pair, in Markdown."""
    head = ["what happens", *(state.value for state in LifecycleState)]
    rows = [
        [f"`{trigger.value}`", *(_cell(state, row) for state in LifecycleState)]
        for trigger, row in TRANSITIONS.items()
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page_with_table(page: str) -> str:
    """The page with the table as it is now between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{write_table()}\n{END}{after}"


def _edges() -> dict[tuple[str, str], tuple[Trigger, ...]]:
    """What leads from where to where; what leads there from every state of an incident leads
    there from its frame.
    """
    found: dict[tuple[str, str], list[Trigger]] = {}
    for trigger, row in TRANSITIONS.items():
        for state, follows in row.items():
            if follows.to is not state:
                found.setdefault((state, follows.to), []).append(trigger)
    for target in LifecycleState:
        shared = [found.get((state, target)) for state in OPEN_STATES]
        if shared[0] and all(triggers == shared[0] for triggers in shared):
            found[GROUP, target] = shared[0]
            for state in OPEN_STATES:
                del found[state, target]
    return {pair: tuple(triggers) for pair, triggers in found.items()}


def _edge(start: str, to: str, triggers: tuple[Trigger, ...]) -> str:
    tail, head = _ends(start, to)
    bend = (
        0
        if GROUP in (start, to)
        or {start, to} & {LifecycleState.WAITING}
        or (to, start) not in _edges()
        else 50
    )
    dx, dy = head[0] - tail[0], head[1] - tail[1]
    length = max(1.0, (dx * dx + dy * dy) ** 0.5)
    middle = (
        (tail[0] + head[0]) / 2 - dy / length * bend,
        (tail[1] + head[1]) / 2 + dx / length * bend,
    )
    path = (
        f'<path class="edge" d="M{tail[0]:.0f} {tail[1]:.0f} Q{middle[0]:.0f} {middle[1]:.0f}'
        f' {head[0]:.0f} {head[1]:.0f}"/>'
    )
    top = middle[1] - (len(triggers) - 1) * LINE_HEIGHT / 2 + 4
    words = [
        f'<text class="why" x="{middle[0]:.0f}"'
        f' y="{top + number * LINE_HEIGHT:.0f}">{escape(trigger.value)}</text>'
        for number, trigger in enumerate(triggers)
    ]
    return "\n".join([path, *words])


def _ends(start: str, to: str) -> tuple[Point, Point]:
    """Where an edge leaves and arrives, on the rims of the boxes."""
    head = CENTRES[to]
    if start == GROUP:
        _, y, _, height = FRAME
        above = head[1] < y
        return (head[0], y if above else y + height), (
            head[0],
            head[1] + (1 if above else -1) * BOX_HEIGHT / 2,
        )
    return _rim(CENTRES[start], head), _rim(head, CENTRES[start])


def _rim(centre: Point, towards: Point) -> Point:
    dx, dy = towards[0] - centre[0], towards[1] - centre[1]
    scale = min(
        BOX_WIDTH / 2 / abs(dx) if dx else float("inf"),
        BOX_HEIGHT / 2 / abs(dy) if dy else float("inf"),
    )
    return centre[0] + dx * scale, centre[1] + dy * scale


def _box(state: LifecycleState) -> str:
    x, y = CENTRES[state]
    kind = "end" if state in END_STATES else "incident" if state in OPEN_STATES else ""
    corner = f'x="{x - BOX_WIDTH // 2}" y="{y - BOX_HEIGHT // 2}"'
    box = f'<rect class="box {kind}" {corner} width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="10"/>'
    return f'{box}\n<text class="name" x="{x}" y="{y + 5}">{state.value}</text>'


def _cell(state: LifecycleState, row: dict[LifecycleState, Transition]) -> str:
    follows = row.get(state)
    if follows is None:
        return ""
    if follows.refusal is not None:
        return f"`{follows.refusal.code.value}`"
    words = [] if follows.to is state else [f"→ **{follows.to.value}**"]
    words += ["noted"] if follows.noted else []
    words += [f"`{follows.flag.value}`"] if follows.flag else []
    return ", ".join(words) or "stays"


if __name__ == "__main__":
    PICTURE.write_text(draw_picture(), encoding="utf-8")
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
