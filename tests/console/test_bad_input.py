"""Input that no browser sends: NUL, impossible dates, other form types and charsets.

The response is a page or a refusal, never an error. It runs on both databases, because PostgreSQL
stores no NUL in text.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from joserfc import jws

from api.console.composition import ConsoleDependencies
from api.console.sign_in.cookies import ConsoleKeys
from api.console.ui.filters import EVENT_TABS, read_address
from domain.projects import CreatedProject
from store.db.database import Database
from tests.conftest import SECRET_KEY
from tests.console.conftest import EMAIL, PASSWORD, Visitor, visiting
from tests.console.oidc_browsers import OidcBrowsers, changed_claims, oidc_provider_at
from tests.console.provider import Json, providing
from tests.support.canaries import shown_secrets

NUL_PLACES = (
    "/events?q=a%00b",
    "/events?internal_reference=%00",
    "/events?project=%00",
    "/events?state=%00",
    "/incidents?q=%00",
    "/rail?section=%00",
    "/login/link?token=%00",
    "/join?token=%00",
)
UNKNOWN_PLACES = (
    "/login/oidc/callback?state=%00",
    "/account/totp",
    "/account/totp/qr.svg",
    "/events/%00",
    "/incidents/%00",
    "/projects/prj_%00",
    "/mailbox/%00",
    "/mailbox/%00/html",
    "/static/%00",
)
# Malformed codes: NUL, empty, digits of other scripts, superscripts, too many digits.
MALFORMED_CODES = ("\0", "", "१२३४५६", "²³¹²³¹", "９" * 7, "9" * 5_000, "🗝" * 6, "-", "1e5")
MALFORMED_CHARSETS = ("utf-7", "idna", "punycode", "unicode_escape", "hex", "undefined", "utf-16")


async def test_nul_in_an_address_is_ignored(operator: Visitor) -> None:
    for path in NUL_PLACES:
        assert (await operator.open(path)).status_code == 200, path
    for path in UNKNOWN_PLACES:
        assert (await operator.open(path)).status_code == 404, path


@pytest.mark.parametrize(
    "day", ["0001-01-01", "9999-12-31", "0000-00-00", "10000-01-01", "2026-02-30", "٢٠٢٦-01-01"]
)
def test_day_outside_the_calendar_filters_nothing(day: str) -> None:
    address = read_address("/events", {"from": day, "to": day}, tabs=EVENT_TABS)

    assert address.created_after is None or address.created_after.year == 9999
    assert address.created_before is None or address.created_before.year == 1


async def test_days_at_the_ends_of_the_calendar_are_shown(operator: Visitor) -> None:
    for query in ("from=0001-01-01", "to=9999-12-31", "from=9999-12-31&to=0001-01-01"):
        assert (await operator.open(f"/events?{query}")).status_code == 200, query


async def test_nul_in_a_form_is_stripped_or_refused(operator: Visitor) -> None:
    named = await operator.post("/projects", page="/projects", name="sh\0op", mode="test")
    odd = await operator.post(
        "/projects",
        page="/projects",
        name="other",
        mode="te\0st",
        repair_url="\0",
        alert_emails="\0@x",
    )
    kept = await operator.post(
        "/login/password",
        page="/login/password",
        email="na\0dia@shop.example",
        password=f"{PASSWORD}\0",
    )
    await operator.post("/logout", page="/incidents")
    entered = await operator.post(
        "/login", page="/login", email="nadia@sh\0op.example", password=PASSWORD
    )
    unknown = await operator.redeem("\0")

    assert [answer.status_code for answer in (named, odd, kept, entered, unknown)] == [
        303,
        422,
        303,
        303,
        422,
    ]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_malformed_form_is_rejected_with_a_page(operator: Visitor) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n'
    part = head + b"\\ud800+2AA-\xff\r\n--b--\r\n"
    multipart = [
        (f"multipart/form-data; boundary=b; charset={charset}", part)
        for charset in MALFORMED_CHARSETS
    ]
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
        answer = await operator.client.post(
            "/projects", content=body, headers={"Content-Type": media_type}
        )

        assert answer.status_code == 403, media_type
        assert "nothing was changed" in answer.text


async def test_malformed_codes_are_rejected_everywhere(member: Visitor, database: Database) -> None:
    await member.post("/account/totp", page="/account/security")
    totp = pyotp.TOTP(shown_secrets((await member.open("/account/totp")).text)[0].replace(" ", ""))

    async def code_of_now() -> str:
        async with database.reading() as session:
            return totp.at(await database.now(session))

    async def give_password() -> None:
        """Give the password, long after earlier attempts."""
        database.clock.skew += timedelta(hours=25)
        await member.post("/login", page="/login", email=EMAIL, password=PASSWORD)

    unconfirmed = [
        await member.post("/account/totp/confirm", page="/account/totp", code=code)
        for code in MALFORMED_CODES
    ]
    on = await member.post("/account/totp/confirm", page="/account/totp", code=await code_of_now())
    not_off = await member.post("/account/totp/remove", page="/account/security", code="\0")
    await member.post("/logout", page="/incidents")
    wrong = []
    for number, code in enumerate(MALFORMED_CODES):
        if number % 4 == 0:
            await give_password()
        wrong.append(await member.post("/login/code", page="/login/code", code=code))
    await give_password()
    right = await member.post("/login/code", page="/login/code", code=f"\0{await code_of_now()} ")

    assert {answer.status_code for answer in (*unconfirmed, *wrong)} == {422}
    assert [answer.status_code for answer in (on, not_off, right)] == [303] * 3
    assert "On. Every sign-in" in (await member.open("/account/security")).text


async def test_malformed_invitations_are_rejected(
    operator: Visitor, project: CreatedProject
) -> None:
    project_path = f"/projects/{project.project.id}"
    outcomes = []
    for email, role in (
        ("\0@", "viewer"),
        ("", "owner"),
        ("a" * 5_000 + "@x", "owner"),
        ("a@b", "\0"),
        ("a@b", "king"),
    ):
        answer = await operator.post(
            f"{project_path}/members", page=project_path, email=email, role=role
        )
        outcomes.append(
            (answer.status_code, shown_secrets((await operator.open(project_path)).text))
        )
    operator.client.cookies.set("makegood_form", "early")
    links = ("", "\0", "x" * 5_000, "🗝")
    odd = [
        await operator.client.post("/join", data={"form_token": "early", "token": link})
        for link in links
    ]
    token = operator.client.cookies["makegood_session"]
    nobody = {"form_token": ConsoleKeys(SECRET_KEY).form_token(token), "role": "owner"}
    for path in (
        f"{project_path}/members/%00/role",
        f"{project_path}/members/%00/remove",
        f"{project_path}/invitations/%00/withdraw",
    ):
        assert (await operator.client.post(path, data=nobody)).status_code == 303, path
    assert (await operator.client.post("/account/sessions/%00/end", data=nobody)).status_code == 303

    assert outcomes == [(303, [])] * 5
    assert [answer.status_code for answer in odd] == [422] * 4


@pytest.fixture
async def browsers(parts: ConsoleDependencies, member: Visitor) -> AsyncIterator[OidcBrowsers]:
    """A provider, and a browser without a session. `member` has an account."""
    async with (
        providing() as (provider, at_provider),
        visiting(replace(parts, oidc_provider=oidc_provider_at(provider.issuer))) as visitor,
    ):
        yield OidcBrowsers(provider, at_provider, visitor)


async def test_malformed_callback_queries_are_refused(browsers: OidcBrowsers) -> None:
    odd = (
        "",
        "state",
        "state=",
        "state=%00",
        "code=%00&state=%ff",
        "state={0}",
        "state={0}&code",
        "state={0}&code=%00%ff%ed%a0%80",
    )
    odd += (
        "state={0}&state=x&code=x",
        "state={0}&code=x&iss=%00",
        "state={0}&code=" + "x" * 20_000,
        "error=%00&state={0}",
    )
    statuses = []
    for query in odd:
        state = parse_qs(
            urlsplit((await browsers.visitor.open("/login/oidc")).headers["location"]).query
        )["state"][0]
        statuses.append(
            (await browsers.visitor.open(f"/login/oidc/callback?{query.format(state)}")).status_code
        )

    assert statuses == [403] * len(odd)
    for back in ("", "%00", "//evil", "/%0d%0aSet-Cookie:x", "%ff"):
        assert (await browsers.visitor.open(f"/login/oidc?back={back}")).status_code == 303
    assert not await browsers.is_in()


MALFORMED_CLAIMS: tuple[Json, ...] = (
    {"sub": "a\0b"},
    {"sub": "\ud800"},
    {"sub": {"a": 1}},
    {"sub": ""},
    {"sub": "x" * 300},
    {"sub": "9", "email": "\0nadia@shop.example"},
    {"sub": "9", "email": "\ud800@shop.example"},
    {"sub": "9", "email": [EMAIL]},
    {"exp": "1"},
    {"iat": {}},
)
# Payloads in place of the ID token's claims.
MALFORMED_PAYLOADS = (
    b"[" * 9_000,
    b"{}",
    b"null",
    b'{"exp": ' + b"9" * 5_000 + b"}",
    b"\xed\xa0\x80",
    b"",
)


async def test_malformed_responses_of_the_provider_are_refused(browsers: OidcBrowsers) -> None:
    provider, statuses = browsers.provider, []
    as_ever = provider.sign

    async def given(sign: Callable[[Json], str], change: Callable[[Json], Json]) -> int:
        provider.sign, provider.change = sign, change
        return (await browsers.sign_in()).status_code

    for claims in MALFORMED_CLAIMS:
        statuses.append(await given(as_ever, changed_claims(**claims)))
    for payload in MALFORMED_PAYLOADS:
        signed = jws.serialize_compact({"alg": "ES256", "kid": "1"}, payload, provider.key)
        statuses.append(await given(lambda _, signed=signed: signed, changed_claims()))

    assert statuses == [403] * (len(MALFORMED_CLAIMS) + len(MALFORMED_PAYLOADS))
    assert not await browsers.is_in()
    assert await given(as_ever, changed_claims(auth_time="")) == 303
    # Without a time of authentication it is no proof.
    assert (await browsers.sign_in("/login/oidc?back=/projects")).status_code == 403
