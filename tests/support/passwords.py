"""Hashes of passwords at a low cost, for the tests' own process.

In production a hash takes 0.2 s of CPU and 64 MiB, on purpose. Child processes hash as in
production.
"""

from functools import partial

import pytest
from argon2 import PasswordHasher

from store.people import users

PRODUCTION = {"PasswordHasher": PasswordHasher, "NOBODYS_HASH": users.NOBODYS_HASH}
_cheap_hasher = partial(PasswordHasher, time_cost=1, memory_cost=64, parallelism=1)
CHEAP = {"PasswordHasher": _cheap_hasher, "NOBODYS_HASH": _cheap_hasher().hash("nobody's")}


def hash_passwords(patch: pytest.MonkeyPatch, how: dict[str, object]) -> None:
    """From now on hash as in `PRODUCTION`, or as in `CHEAP`."""
    for name, value in how.items():
        patch.setattr(users, name, value)
