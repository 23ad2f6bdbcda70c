"""The input of a source: what each kind takes, and which field an error names."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import ValidationFailed
from domain.ids import ProjectId, SourceId
from domain.projects import UNSET, Project
from domain.results import LateResult
from domain.sources.changes import SourceChanges
from domain.sources.source import Expects, ShopifyIdentity, Source, SourceKind
from operations.sources.inputs import NewSourceBody, SourcePatch
from operations.sources.rules import new_source, source_changes
from operations.validation import validated
from tests.support.given import START

Json = dict[str, Any]
REMOVED = ...
STRIPE_EVENT: Json = {"event_type": "invoice.paid", "effect_type": "access_unlock"}
SHOPIFY_EVENT: Json = {"event_type": "orders/paid", "effect_type": "access_unlock"}
WORST = "\ud800\0'\"<&>%s{0}\n" + "😀" * 300
BODIES: dict[str, Json] = {
    "stripe_webhook": {"signing_secret": "whsec_secret", "expects": [STRIPE_EVENT]},
    "stripe_api": {"api_key": "rk_test_secret", "expects": [STRIPE_EVENT]},
    "shopify_webhook": {
        "signing_secret": "0123456789abcdef",
        "expects": [SHOPIFY_EVENT],
        "shop_domain": "a-shop.myshopify.com",
    },
    "shopify_api": {
        "api_key": "shpat_secret",
        "expects": [SHOPIFY_EVENT],
        "shop_domain": "a-shop.myshopify.com",
    },
}


def project(*, livemode: bool = False, **changes: Any) -> Project:
    found = Project(
        id=ProjectId("prj_1"),
        name="shop",
        livemode=livemode,
        repair_url=None,
        repair_url_gone=False,
        timeout_minutes=30.0,
        late_result=LateResult.RESOLVE,
        snapshots=False,
        alert_destinations=(),
        is_suspended=False,
        created_at=START,
    )
    return replace(found, **changes)


def body(kind: str, /, **changes: Any) -> Json:
    """A valid body of the kind. `REMOVED` leaves a field out."""
    values = {"kind": kind, "name": "Payments", **BODIES[kind], **changes}
    return {name: value for name, value in values.items() if value is not REMOVED}


def event(**changes: Any) -> Json:
    return {**STRIPE_EVENT, **changes}


def refusals(content: Json, *, livemode: bool = False) -> list[tuple[str, str]]:
    """(pointer, code) of each error; fails if an error shows what was sent."""
    with pytest.raises(ValidationFailed) as refused:
        new_source(validated(NewSourceBody, content), project(livemode=livemode))
    shown = json.dumps([(e.pointer, e.message) for e in refused.value.errors])
    secrets = [content.get("signing_secret"), content.get("api_key")]
    assert [s for s in secrets if isinstance(s, str) and len(s) > 3 and s in shown] == []
    assert "😀" not in shown
    return [(error.pointer, error.code) for error in refused.value.errors]


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("livemode", [False, True], ids=["test", "live"])
def test_least_body_of_each_kind_has_the_defaults(kind: str, livemode: bool) -> None:
    content = body(kind)
    if livemode and kind == "stripe_api":
        content["api_key"] = "rk_live_secret"

    new = new_source(validated(NewSourceBody, content), project(livemode=livemode))

    is_webhook = kind.endswith("_webhook")
    assert (new.kind, new.name) == (kind, "Payments")
    assert new.secret == content["signing_secret" if is_webhook else "api_key"]
    assert new.every_minutes == (None if is_webhook else 5)
    assert (new.silent_after_minutes, new.account) == (None, None)
    assert new.identity is ShopifyIdentity.OBJECT_ID
    (one,) = new.expects
    expected = content["expects"][0]
    assert one == Expects(expected["event_type"], "access_unlock", 15.0, None, livemode)


def test_every_field_is_taken() -> None:
    content = body(
        "stripe_api",
        every_minutes=1_440,
        silent_after_minutes=43_200,
        account="acct_1A2b",
        identity="object_id",
        expects=[event(within_minutes=0.01, reference="/data/a~1b/0", livemode=False)],
    )

    new = new_source(validated(NewSourceBody, content), project())

    assert (new.every_minutes, new.silent_after_minutes) == (1_440, 43_200)
    assert new.account == "acct_1A2b"
    assert new.expects == (Expects("invoice.paid", "access_unlock", 0.01, "/data/a~1b/0", False),)


@pytest.mark.parametrize("kind", ["stripe_webhook", "shopify_webhook"])
def test_webhook_is_added_before_its_secret(kind: str) -> None:
    content = body(kind, signing_secret=REMOVED)

    assert new_source(validated(NewSourceBody, content), project()).secret == ""


def test_shop_is_stored_in_lower_case() -> None:
    content = body("shopify_api", shop_domain=" A-Shop.MyShopify.com ")

    assert new_source(validated(NewSourceBody, content), project()).shop_domain == (
        "a-shop.myshopify.com"
    )


def test_errors_of_several_fields_come_together() -> None:
    content = body(
        "stripe_webhook",
        signing_secret="rk_test_secret",
        every_minutes=5,
        shop_domain="a.myshopify.com",
        expects=[event(livemode=True), event(event_type="orders/paid")],
    )

    assert refusals(content) == [
        ("/signing_secret", "invalid_format"),
        ("/shop_domain", "not_allowed"),
        ("/expects/0/livemode", "wrong_mode"),
        ("/expects/1/event_type", "unknown_value"),
        ("/every_minutes", "not_allowed"),
    ]


@pytest.mark.parametrize(
    ("kind", "changes", "refused"),
    [
        ("stripe_api", {"kind": "paddle_api"}, ("/kind", "unknown_value")),
        ("stripe_api", {"kind": WORST}, ("/kind", "invalid_value")),
        ("stripe_api", {"kind": REMOVED}, ("/kind", "required")),
        ("stripe_api", {"name": ""}, ("/name", "too_short")),
        ("stripe_api", {"name": " "}, ("/name", "too_short")),
        ("stripe_api", {"name": "x" * 101}, ("/name", "too_long")),
        ("stripe_api", {"name": "a\nb"}, ("/name", "invalid_format")),
        ("stripe_api", {"name": 7}, ("/name", "wrong_type")),
        ("stripe_api", {"expects": REMOVED}, ("/expects", "required")),
        ("stripe_api", {"expects": []}, ("/expects", "too_short")),
        ("stripe_api", {"expects": {}}, ("/expects", "wrong_type")),
        ("stripe_api", {"expects": [STRIPE_EVENT] * 51}, ("/expects", "too_long")),
        ("stripe_api", {"expects": ["invoice.paid"]}, ("/expects/0", "wrong_type")),
        ("stripe_api", {"expects": [STRIPE_EVENT] * 2}, ("/expects/1", "duplicate")),
        ("stripe_api", {"expects": [{}]}, ("/expects/0/event_type", "required")),
        (
            "stripe_api",
            {"expects": [event(event_type=WORST)]},
            ("/expects/0/event_type", "unknown_value"),
        ),
        (
            "shopify_api",
            {"expects": [{**SHOPIFY_EVENT, "event_type": "customers/create"}]},
            ("/expects/0/event_type", "unknown_value"),
        ),
        (
            "stripe_api",
            {"expects": [event(effect_type="magic")]},
            ("/expects/0/effect_type", "unknown_value"),
        ),
        *(
            ("stripe_api", {"expects": [event(within_minutes=minutes)]}, error)
            for minutes, error in (
                (0, ("/expects/0/within_minutes", "out_of_range")),
                (-1, ("/expects/0/within_minutes", "out_of_range")),
                (10_081, ("/expects/0/within_minutes", "out_of_range")),
                (1e400, ("/expects/0/within_minutes", "out_of_range")),
                (float("nan"), ("/expects/0/within_minutes", "out_of_range")),
                ("15", ("/expects/0/within_minutes", "wrong_type")),
                (True, ("/expects/0/within_minutes", "wrong_type")),
                (None, ("/expects/0/within_minutes", "wrong_type")),
            )
        ),
        *(
            (
                "stripe_api",
                {"expects": [event(reference=pointer)]},
                ("/expects/0/reference", "invalid_format"),
            )
            for pointer in ("", "data", "/a~2", "/a~", "/\0")
        ),
        (
            "stripe_api",
            {"expects": [event(reference="/\ud800")]},
            ("/expects/0/reference", "invalid_value"),
        ),
        (
            "stripe_api",
            {"expects": [event(reference="/" + "x" * 255)]},
            ("/expects/0/reference", "too_long"),
        ),
        (
            "stripe_api",
            {"expects": [event(livemode="false")]},
            ("/expects/0/livemode", "wrong_type"),
        ),
        *(
            ("stripe_api", {"every_minutes": m}, ("/every_minutes", c))
            for m, c in (
                (0, "out_of_range"),
                (1_441, "out_of_range"),
                (10**30, "out_of_range"),
                (1.5, "wrong_type"),
                ("5", "wrong_type"),
                (True, "wrong_type"),
            )
        ),
        *(
            ("stripe_api", {"silent_after_minutes": m}, ("/silent_after_minutes", c))
            for m, c in (
                (0, "out_of_range"),
                (4, "out_of_range"),
                (9, "out_of_range"),
                (43_201, "out_of_range"),
                ("60", "wrong_type"),
            )
        ),
        ("stripe_webhook", {"every_minutes": 5}, ("/every_minutes", "not_allowed")),
        ("shopify_api", {"shop_domain": REMOVED}, ("/shop_domain", "required")),
        ("shopify_api", {"shop_domain": None}, ("/shop_domain", "required")),
        *(
            ("shopify_api", {"shop_domain": shop}, ("/shop_domain", "invalid_format"))
            for shop in (
                "shop.example",
                ".myshopify.com",
                "-a.myshopify.com",
                "a.b.myshopify.com",
                "a.myshopify.com.evil.example",
                "a.myshopify.com:8443",
                "https://a.myshopify.com",
                "a.myshopify.com/admin",
                "a@b.myshopify.com",
                "ä.myshopify.com",
                "a\n.myshopify.com",
                "x" * 64 + ".myshopify.com",
            )
        ),
        ("stripe_api", {"shop_domain": "a.myshopify.com"}, ("/shop_domain", "not_allowed")),
        ("stripe_webhook", {"account": "acct_1"}, ("/account", "not_allowed")),
        ("stripe_api", {"account": "1"}, ("/account", "invalid_format")),
        ("stripe_api", {"account": "acct_1\r\nX: y"}, ("/account", "invalid_format")),
        ("stripe_api", {"identity": "event_id"}, ("/identity", "not_allowed")),
        ("shopify_api", {"identity": "webhook_id"}, ("/identity", "not_allowed")),
        ("shopify_webhook", {"identity": "name"}, ("/identity", "unknown_value")),
        ("stripe_api", {"api_key": REMOVED}, ("/api_key", "required")),
        ("stripe_api", {"api_key": None}, ("/api_key", "required")),
        ("stripe_webhook", {"signing_secret": None}, ("/signing_secret", "required")),
        ("stripe_webhook", {"api_key": "rk_test_secret"}, ("/api_key", "not_allowed")),
        ("stripe_api", {"signing_secret": "whsec_secret"}, ("/signing_secret", "not_allowed")),
        *(
            ("stripe_api", {"api_key": key}, ("/api_key", code))
            for key, code in (
                ("short", "too_short"),
                ("rk_test_" + "x" * 500, "too_long"),
                ("rk_test_a b", "invalid_format"),
                ("rk_test_a\r\nX-A: b", "invalid_format"),
                ("rk_test_é", "invalid_format"),
                (WORST, "invalid_value"),
                ("pk_test_publishable", "invalid_format"),
                ("whsec_secret", "invalid_format"),
                ("rk_live_secret", "invalid_format"),
                (7, "wrong_type"),
            )
        ),
        ("stripe_webhook", {"signing_secret": "rk_test_x"}, ("/signing_secret", "invalid_format")),
    ],
    ids=lambda value: str(value)[:50].encode("unicode_escape").decode(),
)
def test_bad_value_is_refused_at_its_field(
    kind: str, changes: Json, refused: tuple[str, str]
) -> None:
    assert refused in refusals(body(kind, **changes))


def test_live_project_takes_whole_minutes_and_live_keys_only() -> None:
    content = body("stripe_api", expects=[event(within_minutes=0.5, livemode=False)])

    assert refusals(content, livemode=True) == [
        ("/api_key", "invalid_format"),
        ("/expects/0/within_minutes", "wrong_type"),
        ("/expects/0/livemode", "wrong_mode"),
    ]


def stored(kind: str = "stripe_api", **changes: Any) -> Source:
    new = new_source(validated(NewSourceBody, body(kind)), project())
    source = Source(
        id=SourceId("src_1"),
        project_id=ProjectId("prj_1"),
        kind=SourceKind(kind),
        name=new.name,
        expects=new.expects,
        every_minutes=new.every_minutes,
        silent_after_minutes=None,
        shop_domain=new.shop_domain,
        account=None,
        identity=new.identity,
        created_at=START - timedelta(days=1),
        paused_at=None,
        last_event_at=None,
        last_listed_at=None,
        listed_until=None,
        silent_since=None,
        problem=None,
        problem_detail=None,
        problem_since=None,
    )
    return replace(source, **changes)


def changes_of(source: Source, patch: Json) -> SourceChanges:
    return source_changes(validated(SourcePatch, patch), source, project())


def test_empty_patch_changes_nothing() -> None:
    assert changes_of(stored(), {"unknown": 1}) == SourceChanges()


def test_given_fields_change() -> None:
    patch = {
        "name": "New",
        "expects": [event(event_type="charge.refunded")],
        "every_minutes": 10,
        "silent_after_minutes": None,
        "paused": True,
        "api_key": "sk_test_secret",
        "kind": "stripe_api",
        "account": None,
    }

    assert changes_of(stored(), patch) == SourceChanges(
        name="New",
        expects=(Expects("charge.refunded", "access_unlock", 15.0, None, False),),
        secret="sk_test_secret",
        every_minutes=10,
        silent_after_minutes=None,
        identity=UNSET,
        is_paused=True,
    )


@pytest.mark.parametrize(
    ("kind", "patch", "refused"),
    [
        ("stripe_api", {"kind": "stripe_webhook"}, ("/kind", "not_allowed")),
        ("stripe_api", {"account": "acct_2"}, ("/account", "not_allowed")),
        ("shopify_api", {"shop_domain": "b.myshopify.com"}, ("/shop_domain", "not_allowed")),
        ("shopify_api", {"identity": "event_id"}, ("/identity", "not_allowed")),
        ("stripe_api", {"api_key": None}, ("/api_key", "required")),
        ("stripe_api", {"api_key": "rk_live_secret"}, ("/api_key", "invalid_format")),
        ("stripe_api", {"signing_secret": "whsec_secret"}, ("/signing_secret", "not_allowed")),
        ("stripe_api", {"silent_after_minutes": 4}, ("/silent_after_minutes", "out_of_range")),
        ("stripe_api", {"silent_after_minutes": 9}, ("/silent_after_minutes", "out_of_range")),
        ("stripe_api", {"every_minutes": None}, ("/every_minutes", "wrong_type")),
        ("stripe_webhook", {"every_minutes": 5}, ("/every_minutes", "not_allowed")),
        ("stripe_api", {"expects": []}, ("/expects", "too_short")),
        ("stripe_api", {"paused": "yes"}, ("/paused", "wrong_type")),
        ("stripe_api", {"name": None}, ("/name", "wrong_type")),
    ],
)
def test_bad_change_is_refused_at_its_field(
    kind: str, patch: Json, refused: tuple[str, str]
) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        changes_of(stored(kind), patch)

    assert [(error.pointer, error.code) for error in refusal.value.errors] == [refused]
