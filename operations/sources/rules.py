"""Turns the input of a source into domain values, by the rules of its kind and its project.

Every error names its field. No message repeats a value, and none shows a secret.
"""

import re
from collections.abc import Iterable, Sequence

from domain.errors import FieldError, ValidationFailed
from domain.projects import UNSET, Project
from domain.receipts import Provider
from domain.sources.changes import NewSource, SourceChanges
from domain.sources.shopify import LISTED_TOPICS
from domain.sources.source import (
    DEFAULT_EVERY_MINUTES,
    Expects,
    ShopifyIdentity,
    Source,
    SourceKind,
)
from domain.sources.stripe import is_thin
from operations.names import accepted_effect_types, accepted_event_types, one_of
from operations.sources.inputs import ExpectedEvent, NewSourceBody, SourcePatch, SourceSecrets
from operations.validation import timeout_errors

_STRIPE_KEY = re.compile(r"(?:rk|sk)_(?:org_)?(?P<mode>test|live)_[\x21-\x7e]+")
_MERGED = (
    "With the identity object_id, two event types of one object need different effect types: "
    "one effect would be one receipt."
)
_STRIPE_SIGNING_SECRET = "whsec_"  # noqa: S105 - a prefix, not a secret


def secret_field(kind: SourceKind) -> str:
    """The name of the field that takes the secret of this kind."""
    return "signing_secret" if kind.is_webhook else "api_key"


def event_types(kind: SourceKind, project: Project) -> tuple[str, ...]:
    """The event types that a source of this kind may expect, sorted.

    A listing of Shopify sees orders only. One of Stripe lists no thin events.
    """
    accepted = accepted_event_types(project, kind.provider)
    match kind:
        case SourceKind.SHOPIFY_API:
            seen = [name for name in accepted if name in LISTED_TOPICS]
        case SourceKind.STRIPE_API:
            seen = [name for name in accepted if not is_thin(name)]
        case _:
            seen = list(accepted)
    return tuple(sorted(set(seen)))


def new_source(body: NewSourceBody, project: Project) -> NewSource:
    """The source that this input means. Raises: ValidationFailed."""
    kind, errors = body.kind, []
    every = body.every_minutes
    if every is None and not kind.is_webhook:
        every = DEFAULT_EVERY_MINUTES
    errors += _secret_errors(body, kind, livemode=project.livemode, is_required=not kind.is_webhook)
    errors += _place_errors(body)
    errors += _expects_errors(body.expects, kind, project)
    errors += _merge_errors(body.expects, kind, body.identity or ShopifyIdentity.OBJECT_ID)
    errors += _interval_errors(kind, every, body.silent_after_minutes)
    errors += _identity_errors(kind, body.identity)
    _refuse(errors)
    return NewSource(
        kind=kind,
        name=body.name,
        expects=_expects(body.expects, project),
        secret=_secret(body, kind) or "",
        every_minutes=every,
        silent_after_minutes=body.silent_after_minutes,
        shop_domain=body.shop_domain,
        account=body.account,
        identity=body.identity or ShopifyIdentity.OBJECT_ID,
    )


def source_changes(patch: SourcePatch, source: Source, project: Project) -> SourceChanges:
    """The changes of this source that the input means. Raises: ValidationFailed."""
    given, kind = patch.model_fields_set, source.kind
    every = patch.every_minutes if "every_minutes" in given else source.every_minutes
    silent = (
        patch.silent_after_minutes
        if "silent_after_minutes" in given
        else source.silent_after_minutes
    )
    errors = _fixed_errors(patch, source)
    errors += _secret_errors(patch, kind, livemode=project.livemode, is_required=False)
    identity = patch.identity if "identity" in given else source.identity
    if "expects" in given:
        errors += _expects_errors(patch.expects, kind, project)
        errors += _merge_errors(patch.expects, kind, identity)
    elif "identity" in given and _merge_errors(source.expects, kind, identity):
        errors.append(_not_allowed("/identity", _MERGED))
    if "identity" in given:
        errors += _identity_errors(kind, patch.identity)
    if given & {"every_minutes", "silent_after_minutes"}:
        errors += _interval_errors(kind, every, silent)
    _refuse(errors)
    secret = _secret(patch, kind)
    return SourceChanges(
        name=patch.name if "name" in given else UNSET,
        expects=_expects(patch.expects, project) if "expects" in given else UNSET,
        secret=UNSET if secret is None else secret,
        every_minutes=patch.every_minutes if "every_minutes" in given else UNSET,
        silent_after_minutes=silent if "silent_after_minutes" in given else UNSET,
        identity=patch.identity if "identity" in given else UNSET,
        is_paused=patch.paused if "paused" in given else UNSET,
    )


def _secret(body: SourceSecrets, kind: SourceKind) -> str | None:
    return body.signing_secret if kind.is_webhook else body.api_key


def _secret_errors(
    body: SourceSecrets, kind: SourceKind, *, livemode: bool, is_required: bool
) -> list[FieldError]:
    name = secret_field(kind)
    other = "api_key" if kind.is_webhook else "signing_secret"
    if other in body.model_fields_set and getattr(body, other) is not None:
        return [_not_allowed(f"/{other}", f"A {kind} source has no {other}. It takes {name}.")]
    secret = _secret(body, kind)
    if secret is None:
        is_null = name in body.model_fields_set
        missing = FieldError(f"/{name}", "required", "This field is required.")
        return [missing] if is_required or is_null else []
    problem = _secret_problem(kind, secret, livemode=livemode)
    return [] if problem is None else [FieldError(f"/{name}", "invalid_format", problem)]


def _secret_problem(kind: SourceKind, secret: str, *, livemode: bool) -> str | None:
    """Why this is no secret of the kind: what people mix up. None: it may be one."""
    if kind is SourceKind.STRIPE_WEBHOOK and not secret.startswith(_STRIPE_SIGNING_SECRET):
        return "Must be the endpoint's signing secret, which begins with whsec_."
    if kind is SourceKind.STRIPE_API:
        found = _STRIPE_KEY.fullmatch(secret)
        if found is None:
            return "Must be a restricted key, which begins with rk_test_ or rk_live_."
        if (found["mode"] == "live") is not livemode:
            mode = "live" if livemode else "test"
            return f"Must be a key of {mode} mode: the project is a {mode} project."
    return None


def _place_errors(body: NewSourceBody) -> list[FieldError]:
    """The shop of Shopify, and the connected account of Stripe."""
    errors = []
    is_shopify = body.kind.provider == "shopify"
    if is_shopify and body.shop_domain is None:
        errors.append(FieldError("/shop_domain", "required", "This field is required."))
    if not is_shopify and body.shop_domain is not None:
        errors.append(_not_allowed("/shop_domain", f"A {body.kind} source has no shop."))
    if body.kind is not SourceKind.STRIPE_API and body.account is not None:
        message = f"A {body.kind} source has no account. Only stripe_api has."
        errors.append(_not_allowed("/account", message))
    return errors


def _fixed_errors(patch: SourcePatch, source: Source) -> list[FieldError]:
    return [
        _not_allowed(f"/{name}", "Must not change. Add another source instead.")
        for name in ("kind", "shop_domain", "account")
        if name in patch.model_fields_set and getattr(patch, name) != getattr(source, name)
    ]


def _expects_errors(
    expects: Sequence[ExpectedEvent], kind: SourceKind, project: Project
) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(expects):
        at = f"/expects/{index}"
        errors += _type_errors(one, kind, project, at)
        for error in timeout_errors(one.within_minutes, livemode=project.livemode):
            errors.append(FieldError(f"{at}/within_minutes", error.code, error.message))
        if one.livemode is not None and one.livemode is not project.livemode:
            message = f"Must be {'true' if project.livemode else 'false'}: the project's mode."
            errors.append(FieldError(f"{at}/livemode", "wrong_mode", message))
        identity = (one.event_type, one.effect_type)
        if identity in seen:
            message = "Each pair of event type and effect type must appear only once."
            errors.append(FieldError(at, "duplicate", message))
        seen.add(identity)
    return errors


def _type_errors(
    one: ExpectedEvent, kind: SourceKind, project: Project, at: str
) -> list[FieldError]:
    errors, types = [], event_types(kind, project)
    if one.event_type not in types:
        message = f"A {kind} source expects {', '.join(types)}."
        errors.append(FieldError(f"{at}/event_type", "unknown_value", message))
    effects = accepted_effect_types(project)
    if one.effect_type not in effects:
        message = f"Must be {one_of(effects)}."
        errors.append(FieldError(f"{at}/effect_type", "unknown_value", message))
    return errors


def _merge_errors(
    expects: Iterable[ExpectedEvent | Expects], kind: SourceKind, identity: ShopifyIdentity
) -> list[FieldError]:
    """Two topics of one object with one effect would be one receipt: the second is never missed."""
    if kind.provider is not Provider.SHOPIFY or identity is not ShopifyIdentity.OBJECT_ID:
        return []
    topics: dict[str, str] = {}
    return [
        FieldError(f"/expects/{index}/effect_type", "duplicate", _MERGED)
        for index, one in enumerate(expects)
        if topics.setdefault(one.effect_type, one.event_type) != one.event_type
    ]


def _interval_errors(
    kind: SourceKind, every: int | None, silent_after: int | None
) -> list[FieldError]:
    if kind.is_webhook:
        if every is None:
            return []
        message = f"A {kind} source lists nothing, so it has no interval."
        return [_not_allowed("/every_minutes", message)]
    if silent_after is not None and every is not None and silent_after < 2 * every:
        message = "Must be at least twice every_minutes: between two listings it sees nothing."
        return [FieldError("/silent_after_minutes", "out_of_range", message)]
    return []


def _identity_errors(kind: SourceKind, identity: ShopifyIdentity | None) -> list[FieldError]:
    if identity in (None, ShopifyIdentity.OBJECT_ID) or kind is SourceKind.SHOPIFY_WEBHOOK:
        return []
    message = "Must be object_id: only deliveries of Shopify carry the other ids."
    return [_not_allowed("/identity", message)]


def _expects(expects: Sequence[ExpectedEvent], project: Project) -> tuple[Expects, ...]:
    return tuple(
        Expects(
            event_type=one.event_type,
            effect_type=one.effect_type,
            within_minutes=one.within_minutes,
            reference=one.reference,
            livemode=project.livemode,
        )
        for one in expects
    )


def _not_allowed(pointer: str, message: str) -> FieldError:
    return FieldError(pointer, "not_allowed", message)


def _refuse(errors: Sequence[FieldError]) -> None:
    if errors:
        raise ValidationFailed(errors=tuple(errors))
