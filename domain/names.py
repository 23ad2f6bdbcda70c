"""Names that a project adds to the contract's sets of providers, event types and effect types.

The contract's sets hold in every project. Without names of its own, a project accepts nothing else.
"""

import re
from dataclasses import dataclass

from domain.receipts import EffectType, EventType, Provider

NAME_PATTERN = "^[a-z][a-z0-9_./-]{0,63}$"
MOST_NAMES = 50
# More than any project removes. The oldest are forgotten.
MOST_RETIRED = 450

BUILT_IN_PROVIDERS = tuple(one.value for one in Provider)
BUILT_IN_EVENT_TYPES = tuple(one.value for one in EventType)
BUILT_IN_EFFECT_TYPES = tuple(one.value for one in EffectType)
_NAME = re.compile(NAME_PATTERN.strip("^$"))


@dataclass(frozen=True, slots=True)
class OwnNames:
    """The names that a project added to one set.

    `retired` were removed from it, the last one first. A new receipt with one is refused. Results
    and filters still know them, because receipts with them are stored.
    """

    current: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        return (*self.current, *self.retired)

    def replaced_by(self, names: tuple[str, ...]) -> "OwnNames":
        """The names after a change of the setting."""
        removed = tuple(name for name in self.known if name not in names)
        return OwnNames(names, removed[:MOST_RETIRED])


NO_NAMES = OwnNames()


def is_name(text: str) -> bool:
    """Whether a project may add this text to a set."""
    return _NAME.fullmatch(text) is not None
