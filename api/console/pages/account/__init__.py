"""The user's own account: sessions, second factor, passkeys, and how dates are shown."""
