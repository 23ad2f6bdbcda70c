"""The Temporal workflows: `receipt` runs one receipt to its end, `canary` proves that a worker
works.

Code here is replayed: it reads no clock, no random source and no database.
"""
