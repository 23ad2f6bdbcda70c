"""What the store and the worker say about Temporal: kinds of outbox rows, runs, problems.

- `outbox` has the kinds of rows that wait to be sent to Temporal.
- `runs` has what is known about a run that is stuck.
- `problems` has the kinds of problems of the connection.
"""
