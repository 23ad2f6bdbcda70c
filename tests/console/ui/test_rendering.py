"""Unchanged regions are not sent, static files have hashes, templates have no inline scripts."""

import base64
import re
from datetime import UTC, datetime
from hashlib import sha384
from pathlib import Path

import pytest
from starlette.requests import Request

from api.console.ui.rendering import HERE, HTMX, HTMX_INTEGRITY, STATIC, Pages, prose

TEMPLATES = sorted((HERE / "templates").glob("*.html"))
# Their address holds a signed token, which is the authority.
OF_LINKS = {"unsubscribe.html", "acknowledge.html"}


def pages() -> Pages:
    return Pages(lambda: datetime(2026, 11, 23, tzinfo=UTC))


def asked(query: str) -> Request:
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/",
            "headers": [],
            "query_string": query.encode(),
        }
    )


def test_the_vendored_htmx_is_the_published_one() -> None:
    digest = sha384((STATIC / HTMX).read_bytes()).digest()

    assert "sha384-" + base64.b64encode(digest).decode() == HTMX_INTEGRITY


def test_an_unchanged_region_is_not_sent() -> None:
    site = pages()
    region = site.region("_mails.html", {"mails": ()})
    seen = re.findall(r'name="seen" value="(\w+)"', region)[-1]

    assert site.fragment(asked(f"seen={seen}"), region).status_code == 204


@pytest.mark.parametrize("query", ["", "seen=", "seen=abc", "seen=%22"])
def test_a_changed_region_is_sent(query: str) -> None:
    site = pages()

    answer = site.fragment(asked(query), site.region("_mails.html", {"mails": ()}))

    assert answer.status_code == 200
    assert b"No emails yet" in answer.body


def test_a_static_file_is_cached_forever_only_by_its_version() -> None:
    site = pages()

    assert "immutable" not in site.static_file("console.css", version="").headers["cache-control"]
    assert site.static_file("../templates/_ui.html", version="").status_code == 404


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_needs_no_inline_script_or_style(template: Path) -> None:
    text = template.read_text()

    assert not re.search(
        r"""<style|\sstyle=|\son\w+=|hx-on|javascript:|js:|<script(?![^>]*\ssrc=)""", text
    )


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_form_that_changes_something_carries_its_token(template: Path) -> None:
    forms = re.findall(r'<form[^>]*method="post".*?</form>', template.read_text(), re.DOTALL)

    assert template.name in OF_LINKS or all("ui.token(" in form for form in forms)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Run `makegood up <x>` & wait.", "Run <code>makegood up &lt;x&gt;</code> &amp; wait."),
        ("`a` and `b`", "<code>a</code> and <code>b</code>"),
        ("one ` alone", "one ` alone"),
        ("`a` and ` alone", "<code>a</code> and ` alone"),
        ("<b>\u202e", "&lt;b&gt; "),
        ("", ""),
    ],
)
def test_backticks_of_a_message_are_code_and_never_shown(text: str, html: str) -> None:
    assert prose(text) == html
