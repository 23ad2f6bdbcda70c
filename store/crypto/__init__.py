"""Encryption of stored secrets, rotation of the root secret, and new ids and tokens."""
