"""Outgoing HTTP to addresses that users name, guarded against server-side request forgery.

`policy` decides which addresses are permitted; `transport` connects to no other.
"""
