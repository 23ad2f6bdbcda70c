"""API keys, HMAC signatures of callbacks, and the backoff of failed logins. Pure functions."""
