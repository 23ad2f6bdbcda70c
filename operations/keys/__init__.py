"""API keys and signing secrets: created, listed, revoked, rotated."""
