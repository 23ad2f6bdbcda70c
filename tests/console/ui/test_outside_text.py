"""Pages show any stored text escaped and without control characters, and never fail."""

import re
from datetime import UTC, datetime

from hypothesis import given, settings

from api.console.sign_in.return_path import safe_return_path
from api.console.ui.rendering import HERE, Pages
from domain.incidents import TimelineKind
from store.receipts.timeline import add_timeline
from tests.console.conftest import Visitor
from tests.domain.values.test_text import ANY_TEXT, is_control
from tests.support.given import Story

PAGES = Pages(lambda: datetime(2026, 11, 23, tzinfo=UTC))
NASTY = "<script>alert(1)</script> \u202egnp \x1b[31m \x9b \u2028 half \ud83d"


@settings(max_examples=60, deadline=None)
@given(outside=ANY_TEXT)
def test_page_with_any_text_is_well_formed_and_escaped(outside: str) -> None:
    answer = PAGES.page(
        "problem.html",
        {"title": f"<b>{outside}", "detail": f"'\"<i>{outside}", "section": "", "address": ""},
    )

    page = bytes(answer.body).decode("utf-8")
    assert not any(is_control(character) for character in page if character not in "\n\t")
    assert "<b>" not in page
    assert "<i>" not in page


async def test_event_with_hostile_texts_is_shown_on_page_and_in_lists(
    operator: Visitor, story: Story
) -> None:
    event_id, incident_id = await story.opened(
        internal_reference="<script>alert(1)</script> \u202egnp \x1b[31m \x9b \u2028"
    )
    # A JSON column may hold an escaped lone surrogate.
    await story.do(_note, event_id)

    for path in (f"/events/{event_id}", "/incidents", "/incidents?view=flat", "/events?state=all"):
        answer = await operator.open(path)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert not any(
            is_control(character) for character in answer.text if character not in "\n\t"
        )
    assert incident_id


async def _note(st: object, event_id: str, now: datetime) -> None:
    fields = {"text": NASTY, "javascript": NASTY}
    await add_timeline(st, event_id, TimelineKind.NOTED, now, **fields)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(back=ANY_TEXT.map(lambda text: "/" + text) | ANY_TEXT)
def test_return_path_is_a_path_of_this_site_on_one_line(back: str) -> None:
    path = safe_return_path({"back": back}, prefix="", otherwise="/incidents")

    assert path.startswith("/")
    assert not path.startswith(("//", "/\\"))
    assert not any(map(is_control, path))


def test_every_address_in_a_template_is_built_by_our_code() -> None:
    """Review a new expression before adding it: an outside value could start with `javascript:`."""
    reviewed = re.compile(
        r"address_of(\.\w+(\(.*\))?)?|static\(.*\)|action|back|base|line\.link|run_url|address|path"
        r"|provider_page\.url|same_cause_path|link\|default\('/incidents'\)"
        # Of `position_in_list`, which writes the path itself.
        r"|position\.(previous|next)"
        r"|position\.back if position else '/incidents' if incident else '/events'"
    )
    sources = [
        path.read_text(encoding="utf-8") for path in sorted((HERE / "templates").glob("*.html"))
    ]
    # What follows the prefix of the public URL is reviewed too.
    attribute = re.compile(
        r"\b(?:href|src|action|formaction|hx-\w+)=\"(?:\{\{ base \}\})?\{\{\s*(.*?)\s*\}\}"
    )

    named = [expression for source in sources for expression in attribute.findall(source)]

    assert len(named) > 10
    assert [expression for expression in named if not reviewed.fullmatch(expression)] == []


def test_no_template_disables_escaping() -> None:
    sources = [
        path.read_text(encoding="utf-8") for path in sorted((HERE / "templates").glob("*.html"))
    ]

    assert not [source for source in sources if re.search(r"\|\s*safe\b|autoescape|Markup", source)]
