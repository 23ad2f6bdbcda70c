"""Repair of many in a worker process: Temporal's worker of bulk repairs, and the loops of bulk
repairs, holds and rules.
"""
