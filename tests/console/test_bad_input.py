"""What no browser sends: NUL, days beyond the calendar, forms of other kinds and charsets. A page or a refusal, never an error.

The store's engine has a say: PostgreSQL takes no NUL in a text.
"""

import pytest

from api.console.filters import EVENT_TABS, read_address
from tests.console.conftest import PASSWORD, Visitor

NUL_PLACES = (
    "/events?q=a%00b",
    "/events?internal_reference=%00",
    "/events?project=%00",
    "/events?state=%00",
    "/incidents?q=%00",
    "/rail?here=%00",
    "/login/link?token=%00",
)
UNKNOWN_PLACES = ("/events/%00", "/incidents/%00", "/projects/prj_%00", "/mailbox/%00", "/mailbox/%00/html", "/static/%00")
ODD_CHARSETS = ("utf-7", "idna", "punycode", "unicode_escape", "hex", "undefined", "utf-16")


async def test_nul_in_an_address_is_as_if_it_were_not_there(operator: Visitor) -> None:
    for path in NUL_PLACES:
        assert (await operator.open(path)).status_code == 200, path
    for path in UNKNOWN_PLACES:
        assert (await operator.open(path)).status_code == 404, path


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "0000-00-00", "10000-01-01", "2026-02-30", "٢٠٢٦-01-01"])
def test_day_beyond_the_calendar_narrows_nothing(day: str) -> None:
    address = read_address("/events", {"from": day, "to": day}, tabs=EVENT_TABS)

    assert address.created_after is None or address.created_after.year == 9999
    assert address.created_before is None or address.created_before.year == 1


async def test_days_at_the_ends_of_the_calendar_are_shown(operator: Visitor) -> None:
    for query in ("from=0001-01-01", "to=9999-12-31", "from=9999-12-31&to=0001-01-01"):
        assert (await operator.open(f"/events?{query}")).status_code == 200, query


async def test_nul_in_a_form_is_stripped_or_refused(operator: Visitor) -> None:
    named = await operator.post("/projects", page="/projects", name="sh\0op", mode="test")
    odd = await operator.post("/projects", page="/projects", name="other", mode="te\0st", repair_url="\0", alert_emails="\0@x")
    kept = await operator.post("/login/password", page="/login/password", email="na\0dia@shop.example", password=f"{PASSWORD}\0")
    await operator.post("/logout", page="/incidents")
    entered = await operator.post("/login", page="/login", email="nadia@sh\0op.example", password=PASSWORD)
    unknown = await operator.post("/login/link", page="/login/link?token=x", token="\0")

    assert [answer.status_code for answer in (named, odd, kept, entered, unknown)] == [303, 422, 303, 303, 422]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_form_that_no_browser_sends_is_refused_as_a_page(operator: Visitor) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n\\ud800+2AA-\xff\r\n--b--\r\n'
    multipart = [(f"multipart/form-data; boundary=b; charset={charset}", part) for charset in ODD_CHARSETS]
    broken = [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nx"),
        ("text/plain", b"a=b"),
        ("", b"a=b"),
    ]
    many = [
        ("application/x-www-form-urlencoded", b"&".join([b"a=b"] * 51)),
        ("application/x-www-form-urlencoded", b"%ff=%ed%a0%80"),
    ]

    for media_type, body in (*multipart, *broken, *many):
        answer = await operator.client.post("/projects", content=body, headers={"Content-Type": media_type})

        assert answer.status_code == 403, media_type
        assert "nothing was changed" in answer.text
