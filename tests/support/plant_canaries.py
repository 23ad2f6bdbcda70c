"""Plants secrets wherever an installation takes one, and causes bugs while it has them in hand."""

import json
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pyotp

from tests.support.canaries import (
    Canaries,
    shown_secrets,
    submitted,
)
from tests.support.product import Product
from tests.support.waiting import wait_until

EMAIL = "nadia@shop.example"


@contextmanager
def without(table: str, data_dir: Path) -> Iterator[None]:
    """The store lacks a table meanwhile: what needs it fails as no code expects."""

    def rename(old: str, new: str) -> None:
        connection = sqlite3.connect(data_dir / "makegood.db", timeout=10)
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
        connection.close()

    rename(table, f"{table}_hidden")
    try:
        yield
    finally:
        rename(f"{table}_hidden", table)


def plant_in_projects(shop: Product, canaries: Canaries) -> None:
    """Keys and signing secrets, current, next and revoked."""
    created = shop.created
    canaries.plant("API key", created["api_key"])
    canaries.plant("signing secret", created["signing_secret"])
    canaries.plant(
        "next signing secret",
        shop.makegood("project", "rotate-secret", "shop", "--json").json["signing_secret"],
    )
    revoked = shop.makegood("key", "create", "shop", "--label", "old", "--json").json
    shop.makegood("key", "revoke", "shop", revoked["key_id"])
    key = canaries.plant("revoked key", revoked["api_key"])
    mistyped = canaries.plant("mistyped key", created["api_key"][:-12] + "A" * 12)
    for authorization in (
        f"Bearer {key}",
        f"Bearer {mistyped}",
        f"Basic {canaries.new('credentials of another scheme')}",
        canaries.new("credentials without a scheme"),
    ):
        headers = {
            "Authorization": authorization,
            "Idempotency-Key": "k",
            "Content-Type": "application/json",
        }
        assert (
            canaries.collect(
                shop.http.post("/api/v1/receipt", json={}, headers=headers)
            ).status_code
            == 401
        )
    in_query = {"api_key": canaries.new("key in a query")}
    canaries.collect(shop.http.get("/api/v1/events", params=in_query))
    canaries.collect(shop.http.get("/api/v1/events", params=in_query, headers=shop.headers))
    canaries.collect(
        shop.http.get(f"/api/v1/events/{canaries.new('key in a path')}", headers=shop.headers)
    )


def plant_in_requests(shop: Product, canaries: Canaries) -> str:
    """Payloads and values, taken and refused; the event of the receipt whose payload is kept,
    sealed.
    """

    def refused(status: int, body: object, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {
            **shop.headers,
            "Idempotency-Key": f"refused {len(canaries.planted)}",
            "Content-Type": "application/json",
        }
        answer = shop.http.post("/api/v1/receipt", content=content, headers={**given, **headers})
        assert canaries.collect(answer).status_code == status, answer.text

    shop.receipt(payload={"card": canaries.new("payload that is not kept")})
    snapshots = canaries.collect(
        shop.http.patch("/api/v1/project", json={"snapshots": True}, headers=shop.headers)
    )
    assert snapshots.status_code == 200
    kept = shop.receipt(
        payload={"card": canaries.new("payload that is kept")}, secret=canaries.new("unknown field")
    )
    refused(
        422,
        {"provider": "stripe", "payload": {"card": canaries.new("payload of a refused receipt")}},
    )
    refused(
        422,
        {
            "provider": canaries.new("value of no provider"),
            "effect_type": canaries.new("value of no effect"),
        },
    )
    refused(422, b'{"api_key": "%s"' % canaries.new("key in a malformed body").encode())
    refused(
        413,
        {"payload": canaries.new("payload of a request that is too large"), "more": "x" * 70_000},
    )
    cookie = f"token={canaries.new('cookie of somebody else')}"
    refused(
        415,
        b"{}",
        **{
            "Content-Type": "text/plain",
            "X-Api-Key": canaries.new("header of somebody else"),
            "Cookie": cookie,
        },
    )
    return kept


def plant_in_sources(shop: Product, canaries: Canaries) -> None:
    """Secrets of sources: stored, replaced, removed, and refused in every way."""
    expects = [{"event_type": "invoice.paid", "effect_type": "access_unlock"}]
    webhook = {"kind": "stripe_webhook", "name": "Payments", "expects": expects}
    listing = webhook | {"kind": "stripe_api"}

    def asked(status: int, method: str, path: str, body: object = None) -> httpx.Response:
        answer = shop.http.request(
            method, f"/api/v1/sources{path}", json=body, headers=shop.headers
        )
        assert canaries.collect(answer).status_code == status, answer.text
        return answer

    def signing(what: str) -> dict[str, str]:
        return {"signing_secret": canaries.plant(what, f"whsec_{canaries.new(f'{what}, bare')}")}

    kept = asked(201, "POST", "", webhook | signing("secret of a source")).json()["id"]
    asked(200, "PATCH", f"/{kept}", signing("next secret of a source"))
    asked(200, "POST", f"/{kept}/check")
    key = canaries.plant("key of a source", f"rk_test_{canaries.new('key of a source, bare')}")
    removed = asked(201, "POST", "", listing | {"api_key": key}).json()["id"]
    asked(200, "DELETE", f"/{removed}")
    live = canaries.plant("live key", f"rk_live_{canaries.new('live key, bare')}")
    blank = signing("secret with a blank")["signing_secret"]
    asked(422, "POST", "", listing | {"api_key": live})
    asked(422, "POST", "", listing | signing("secret in the wrong field"))
    asked(422, "POST", "", webhook | {"signing_secret": f"{blank} x"})
    asked(422, "PATCH", f"/{kept}", {"kind": canaries.new("secret as a kind")})
    asked(422, "POST", "", webhook | {"expects": [{"event_type": canaries.new("as a type")}]})
    add = ("source", "add", "shop", "stripe_webhook", "--name", "CLI")
    of_cli = signing("secret on the command line")["signing_secret"]
    expect = ("--expect", "invoice.paid access_unlock", "--json")
    done = shop.makegood(*add, *expect, MAKEGOOD_SOURCE_SECRET=of_cli)
    assert done.code == 0
    canaries.answers.append(f"{done.out}{done.err}")


def plant_in_console(shop: Product, canaries: Canaries) -> httpx.Client:
    """Links, passwords, form tokens and the session of the person who is signed in, as the client
    is returned.
    """
    canaries.plant("login link", link_token(shop))
    used = canaries.plant("used login link", link_token(shop))
    browser = httpx.Client(base_url=shop.http.base_url, trust_env=False, timeout=20)
    assert submitted(browser, f"/login/link?token={used}", "/login/link").status_code == 303
    password = canaries.new("password")
    assert (
        submitted(
            browser, "/login/password", "/login/password", email=EMAIL, password=password
        ).status_code
        == 303
    )
    canaries.plant("session token", browser.cookies["makegood_session"])
    page = browser.get("/projects").text
    canaries.plant("form token", page.partition('name="form_token" value="')[2].partition('"')[0])
    anonymous = httpx.Client(base_url=shop.http.base_url, trust_env=False, timeout=20)
    wrong = canaries.new("wrong password")
    canaries.collect(submitted(anonymous, "/login", "/login", email=EMAIL, password=wrong))
    forged = {"form_token": canaries.new("forged form token"), "name": "shop"}
    canaries.collect(anonymous.post("/projects", data=forged))
    canaries.collect(browser.post("/projects", data=forged))
    anonymous.close()
    return browser


@dataclass(frozen=True, slots=True)
class Halfway:
    """Somebody who has given his password and not his code; `codes` are recovery codes that are not
    used.
    """

    browser: httpx.Client
    codes: list[str]


def visitor(shop: Product) -> httpx.Client:
    return httpx.Client(base_url=shop.http.base_url, trust_env=False, timeout=20)


def plant_in_sign_in(shop: Product, canaries: Canaries, browser: httpx.Client) -> Halfway:
    """An authenticator app and its recovery codes, one of them used; invitations, taken and
    waiting.
    """
    assert submitted(browser, "/account/security", "/account/totp").status_code == 303
    secret = canaries.plant(
        "TOTP key", shown_secrets(browser.get("/account/totp").text)[0].replace(" ", "")
    )
    code = pyotp.TOTP(secret).now()
    assert (
        submitted(browser, "/account/totp", "/account/totp/confirm", code=code).status_code == 303
    )
    codes = shown_secrets(browser.get("/account/security").text)
    for what, shown in zip(("used recovery code", "recovery code"), codes, strict=False):
        canaries.plant(what, shown)
        canaries.plant(f"{what}, its letters", shown.replace("-", ""))
    project_path = f"/projects/{shop.created['project_id']}"
    for what, email in (
        ("used invitation", "ada@shop.example"),
        ("invitation", "eve@shop.example"),
    ):
        assert (
            submitted(
                browser, project_path, f"{project_path}/members", email=email, role="viewer"
            ).status_code
            == 303
        )
        (shown,) = shown_secrets(browser.get(project_path).text)
        canaries.plant(what, shown.partition("token=")[2])
    with visitor(shop) as ada:
        taken = canaries.planted["used invitation"]
        assert submitted(ada, f"/join?token={taken}", "/join").status_code == 303
        canaries.plant("session token of who was invited", ada.cookies["makegood_session"])
        canaries.collect(ada.get("/join", params={"token": taken}))
    halfway = visitor(shop)
    for code, status in ((codes[0], 303), (canaries.new("wrong code"), 422)):
        give_password(halfway, canaries)
        assert (
            canaries.collect(
                submitted(halfway, "/login/code", "/login/code", code=code)
            ).status_code
            == status
        )
    canaries.plant("cookie of who is halfway", halfway.cookies["makegood_pending_second_factor"])
    return Halfway(halfway, codes[1:])


def give_password(visitor: httpx.Client, canaries: Canaries) -> None:
    answer = submitted(
        visitor, "/login", "/login", email=EMAIL, password=canaries.planted["password"]
    )
    assert answer.headers["location"] == "/login/code"


def plant_at_the_provider(shop: Product, canaries: Canaries, requests: list[str]) -> None:
    """Plant the secret of the client, which calls carry, and the code that a browser returns."""
    with visitor(shop) as browser:
        asked = parse_qs(urlsplit(browser.get("/login/oidc").headers["location"]).query)
        state, code = asked["state"][0], canaries.new("code of the provider")
        answer = canaries.collect(
            browser.get("/login/oidc/callback", params={"code": code, "state": state})
        )
    assert answer.status_code == 403
    sent = b64encode(f"makegood:{canaries.planted['OIDC client secret']}".encode()).decode()
    assert [sent in one and code in one for one in requests] == [True], (
        "it was asked with the secret"
    )
    canaries.plant("header with the OIDC client secret", sent)


def fail_unexpectedly(
    shop: Product, canaries: Canaries, browser: httpx.Client, data_dir: Path, halfway: Halfway
) -> None:
    """Bugs, as far as the code knows, while secrets are in its hands:

    each is a traceback in the log.
    """
    tracebacks = shop.output("api").count("Traceback")
    headers = {**shop.headers, "Idempotency-Key": "unexpected", "Content-Type": "application/json"}
    payload = {"card": canaries.new("payload of a receipt that met a bug")}
    body = {
        "provider": "stripe",
        "stripe_event_id": "evt_bug",
        "event_type": "invoice.paid",
        "effect_type": "credit_grant",
    }
    body |= {"internal_reference": "order_bug", "occurred_at": "2026-11-23T11:13:55Z"}
    unknown_key = canaries.new("password typed while there was a bug")
    with without("receipts", data_dir):
        answer = shop.http.post(
            "/api/v1/receipt", json={**body, "payload": payload}, headers=headers
        )
        assert canaries.collect(answer).status_code == 500
    with without("users", data_dir):
        email = canaries.plant(
            "address typed while there was a bug", f"{canaries.new('its local part')}@shop.example"
        )
        anonymous = httpx.Client(base_url=shop.http.base_url, trust_env=False, timeout=20)
        assert (
            canaries.collect(
                submitted(anonymous, "/login", "/login", email=email, password=unknown_key)
            ).status_code
            == 500
        )
        anonymous.close()
        assert canaries.collect(browser.get("/projects")).status_code == 500
    # After the app's secret was opened.
    with without("recovery_codes", data_dir):
        answer = submitted(halfway.browser, "/login/code", "/login/code", code=halfway.codes[0])
        assert canaries.collect(answer).status_code == 500
    halfway.browser.close()
    wait_until(
        lambda: shop.output("api").count("Traceback") >= tracebacks + 4,
        what="four tracebacks in the log",
    )


def link_token(shop: Product) -> str:
    return str(shop.makegood("user", "link", "--json").json["url"].partition("token=")[2])
