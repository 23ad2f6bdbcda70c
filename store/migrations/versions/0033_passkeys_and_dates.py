"""Passkeys, the challenges of their ceremonies, and each user's time zone and language of dates.

An earlier version neither reads nor writes them: it signs in whoever has a passkey, and no
authenticator app, by the password alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("time_zone", sa.Text(), nullable=True))
    op.add_column("users", sa.Column("date_language", sa.Text(), nullable=True))
    op.create_table(
        "passkeys",
        _text("id"),
        _text("user_id"),
        _text("name"),
        _text("credential_id"),
        _text("public_key"),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        _text("rp_id"),
        _text("transports"),
        _instant("created_at"),
        _instant("last_used_at", nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("credential_id"),
    )
    op.create_index("ix_passkeys_user_id", "passkeys", ["user_id"])
    op.create_table(
        "passkey_challenges",
        _text("challenge"),
        _text("ceremony"),
        _text("browser"),
        sa.Column("user_id", sa.Text(), nullable=True),
        _instant("expires_at"),
        sa.PrimaryKeyConstraint("challenge"),
    )
    for column in ("browser", "expires_at"):
        op.create_index(f"ix_passkey_challenges_{column}", "passkey_challenges", [column])


def downgrade() -> None:
    """Passkeys go with their table. Recovery codes without an authenticator app go too: no earlier
    version shows them.
    """
    op.drop_table("passkey_challenges")
    op.drop_table("passkeys")
    confirmed = "SELECT user_id FROM totp_factors WHERE confirmed_at IS NOT NULL"
    op.execute(sa.text(f"DELETE FROM recovery_codes WHERE user_id NOT IN ({confirmed})"))
    op.drop_column("users", "date_language")
    op.drop_column("users", "time_zone")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _instant(name: str, *, nullable: bool = False) -> sa.Column[int]:
    """Milliseconds since 1970 UTC."""
    return sa.Column(name, sa.BigInteger(), nullable=nullable)
