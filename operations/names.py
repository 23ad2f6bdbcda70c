"""Which providers, event types and effect types a project accepts and knows.

A name is *accepted* in a new receipt, and *known* in results and filters: what was removed from a
project's set stays known, because receipts with it are stored. A provider of the project's own may
have any well-formed event type. Models of bodies get the project as their validation context.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError

from domain.errors import FieldError, ValidationFailed
from domain.names import (
    BUILT_IN_EFFECT_TYPES,
    BUILT_IN_EVENT_TYPES,
    BUILT_IN_PROVIDERS,
    MOST_NAMES,
    NAME_PATTERN,
    is_name,
)
from domain.projects import Project
from domain.receipts import EVENT_TYPES_OF, Provider

SHAPE = "Must be a name of at most 64 characters a-z, 0-9, _, ., / and -, beginning with a letter."


def accepted_providers(project: Project | None) -> tuple[str, ...]:
    return (*BUILT_IN_PROVIDERS, *(project.providers.current if project else ()))


def accepted_event_types(project: Project | None, provider: str) -> tuple[str, ...]:
    """Those of a provider of the contract. One of the project's own has any well-formed type."""
    own = project.event_types.current if project else ()
    return (*sorted(EVENT_TYPES_OF[Provider(provider)]), *own)


def accepted_effect_types(project: Project | None) -> tuple[str, ...]:
    return (*BUILT_IN_EFFECT_TYPES, *(project.effect_types.current if project else ()))


def known_providers(projects: Iterable[Project]) -> tuple[str, ...]:
    return _known(BUILT_IN_PROVIDERS, (project.providers.known for project in projects))


def known_event_types(projects: Iterable[Project]) -> tuple[str, ...]:
    return _known(BUILT_IN_EVENT_TYPES, (project.event_types.known for project in projects))


def known_effect_types(projects: Iterable[Project]) -> tuple[str, ...]:
    return _known(BUILT_IN_EFFECT_TYPES, (project.effect_types.known for project in projects))


def knows_event_type(projects: Sequence[Project], name: str) -> bool:
    """Whether receipts of these projects may have this type."""
    if name in known_event_types(projects):
        return True
    return is_name(name) and any(project.providers.known for project in projects)


def check_known(
    projects: Sequence[Project],
    *,
    provider: str | None,
    event_type: str | None,
    effect_type: str | None,
) -> None:
    """Check the filters of a list of these projects; None is no filter.

    Raises: ValidationFailed.
    """
    asked = {
        "provider": (provider, known_providers(projects)),
        "effect_type": (effect_type, known_effect_types(projects)),
    }
    errors = [
        FieldError(f"/{name}", "unknown_value", f"Must be {one_of(known)}.")
        for name, (value, known) in asked.items()
        if value is not None and value not in known
    ]
    if event_type is not None and not knows_event_type(projects, event_type):
        message = f"Must be {one_of(known_event_types(projects))}."
        errors.append(FieldError("/event_type", "unknown_value", message))
    if errors:
        raise ValidationFailed(errors=tuple(errors))


def one_of(names: Sequence[str]) -> str:
    """The names in a sentence: `'stripe', 'shopify' or 'paddle'`."""
    quoted = [f"'{name}'" for name in names]
    return " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))


def _known(built_in: tuple[str, ...], own: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return (*built_in, *sorted({name for names in own for name in names} - set(built_in)))


def _checked(names_of: Callable[[Project | None], tuple[str, ...]]) -> BeforeValidator:
    """Accept only these names of the project that the body is validated for."""

    def check(value: object, info: ValidationInfo) -> object:
        names = names_of(info.context)
        if isinstance(value, str) and value in names:
            return value
        raise PydanticKnownError("enum", {"expected": one_of(names)})

    return BeforeValidator(check)


def _event_type(value: object, info: ValidationInfo) -> object:
    """An event type that the provider has, which is the field before."""
    provider, project = info.data.get("provider"), info.context
    if provider is not None and provider not in BUILT_IN_PROVIDERS:
        if isinstance(value, str) and is_name(value):
            return value
        raise PydanticCustomError("invalid_format", "{shape}", {"shape": SHAPE})
    names = (
        known_event_types([project] if project else [])
        if provider is None
        else accepted_event_types(project, provider)
    )
    if isinstance(value, str) and value in names:
        return value
    raise PydanticKnownError("enum", {"expected": one_of(names)})


def _own_name(value: object) -> object:
    if isinstance(value, str) and not is_name(value):
        raise PydanticCustomError("invalid_format", "{shape}", {"shape": SHAPE})
    return value


# Any: a JSON schema.
def _schema(names: tuple[str, ...]) -> WithJsonSchema:
    """The contract's names, or one that the project added."""
    own: dict[str, Any] = {"type": "string", "pattern": NAME_PATTERN}
    return WithJsonSchema({"anyOf": [{"type": "string", "enum": list(names)}, own]})


PROVIDER_SCHEMA = _schema(BUILT_IN_PROVIDERS)
EVENT_TYPE_SCHEMA = _schema(BUILT_IN_EVENT_TYPES)
EFFECT_TYPE_SCHEMA = _schema(BUILT_IN_EFFECT_TYPES)
# Of a new receipt.
NewProvider = Annotated[str, _checked(accepted_providers), PROVIDER_SCHEMA]
NewEventType = Annotated[str, BeforeValidator(_event_type), EVENT_TYPE_SCHEMA]
NewEffectType = Annotated[str, _checked(accepted_effect_types), EFFECT_TYPE_SCHEMA]
# Of a result.
KnownProvider = Annotated[
    str, _checked(lambda one: known_providers([one] if one else [])), PROVIDER_SCHEMA
]
KnownEffectType = Annotated[
    str, _checked(lambda one: known_effect_types([one] if one else [])), EFFECT_TYPE_SCHEMA
]
# In responses and filters, where their values are known.
ProviderText = Annotated[str, PROVIDER_SCHEMA]
EventTypeText = Annotated[str, EVENT_TYPE_SCHEMA]
EffectTypeText = Annotated[str, EFFECT_TYPE_SCHEMA]
# A setting of a project.
OwnNameList = Annotated[
    list[Annotated[str, BeforeValidator(_own_name), Field(pattern=NAME_PATTERN)]],
    Field(max_length=MOST_NAMES),
]
