"""The person who signs in to the console."""

from dataclasses import dataclass

from domain.ids import UserId


@dataclass(frozen=True, slots=True)
class User:
    """A person. `email` is None, and `has_password` false, until the first sign-in by link is completed with a password."""

    user_id: UserId
    email: str | None
    has_password: bool
