"""The operations on API keys and on signing secrets."""
