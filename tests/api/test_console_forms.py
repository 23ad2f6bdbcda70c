"""Generated paths and forms for every route except REST, with a signed-in session: none causes a
500.

The routes come from the application, so that new pages and forms are included. It runs on
PostgreSQL, which is stricter about text than SQLite.
"""

import re
from urllib.parse import quote_from_bytes

import httpx
import hypothesis
import pytest
from hypothesis import strategies as st

from tests.api.apart import GENERATED, Served

EXAMPLES = 6
LAST = ("/logout", "/login/password")
FIELDS = (
    *(
        "name",
        "mode",
        "repair_url",
        "alert_emails",
        "timeout_minutes",
        "late_result",
        "early_results",
        "snapshots",
        *("providers", "event_types", "effect_types", "acknowledge_minutes"),
        *("silent_after_minutes", "silent_event_types"),
        "label",
        "scopes",
    ),
    *(
        "reason",
        "back",
        "email",
        "password",
        "token",
        "form_token",
        "code",
        "role",
        "confirmation",
        "end_open",
        "held",
        "proof",
        *("minutes", "at", "assignee", "text", "confirm"),
    ),
    *("project", "actor", "action", "from", "to", "cursor", "expires_in_days", "uri"),
)
FILTERS = (
    "state",
    "q",
    "project",
    "provider",
    "event_type",
    "internal_reference",
    "from",
    "to",
    "cursor",
    "seen",
    "here",
    "v",
)
FILTERS += ("actor", "action", "token", "back", "code", "iss", "error")
VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"\0",
            b"9999-12-31",
            b"0001-01-01",
            b"1e999",
            b"9" * 400,
            b"\xed\xa0\x80",
            b"/\\evil",
            b"ingest read",
        ]
    ),
    st.sampled_from([b"owner", b"prj_none", b"key_revoked", b"me@shop.example", b"000000"]),
)


def encoded(fields: dict[str, bytes]) -> str:
    return "&".join(f"{name}={quote_from_bytes(value)}" for name, value in fields.items())


@pytest.mark.parametrize("served", ["postgresql"], indirect=True)
def test_generated_forms_and_addresses_bring_no_page_down(served: Served) -> None:
    # Routes that end the session come last. REST has its own generated requests. A 503 of
    # readiness is no error.
    pages = [
        route
        for route in served.routes
        if not route[1].startswith("/api/") and route[1] != "/readyz"
    ]
    pages.sort(key=lambda route: route[1] in LAST)
    assert len(pages) > 25

    with httpx.Client(base_url=served.address, timeout=20) as browser:
        browser.cookies.set("makegood_session", served.session_token)
        page = browser.get("/projects")
        token = re.search(r'name="form_token" value="([^"]*)"', page.text)
        assert token is not None, page.text
        # Forms before sign-in carry the token of a cookie.
        browser.cookies.set("makegood_form", token[1])
        for method, path in pages:
            _holds(browser, method, path, served.ids, form_token=token[1])


def _holds(
    browser: httpx.Client, method: str, path: str, ids: dict[str, str], *, form_token: str
) -> None:
    names = re.findall(r"{(\w+)}", path)

    @hypothesis.settings(GENERATED, max_examples=EXAMPLES)
    @hypothesis.given(
        is_known=st.booleans(),
        odd_ids=st.fixed_dictionaries({name: VALUES.filter(bool) for name in names}),
        fields=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6),
        query=st.dictionaries(st.sampled_from(FILTERS), VALUES, max_size=4),
    )
    def holds(
        is_known: bool, odd_ids: dict[str, bytes], fields: dict[str, bytes], query: dict[str, bytes]
    ) -> None:
        target = path
        for name in names:
            target = target.replace(
                f"{{{name}}}",
                ids.get(name, "unknown") if is_known else quote_from_bytes(odd_ids[name], safe=""),
            )
        sent = {**fields, "form_token": form_token.encode()} if method == "POST" else {}

        answer = browser.request(
            method,
            f"{target}?{encoded(query)}",
            content=encoded(sent),
            headers={"Content-Type": "application/x-www-form-urlencoded"} if sent else {},
        )

        assert answer.status_code < 500, (method, target, query, fields, answer.text)
        assert "This form was not accepted" not in answer.text or path in LAST, (
            "its own code did not run"
        )

    holds()
