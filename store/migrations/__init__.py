"""The migrations of the schema, run by Alembic in the order of their numbers.

A released one is never changed.
"""
