"""Encryption of stored secrets, rotation of the root secret, and the making of ids and tokens."""
