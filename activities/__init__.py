"""Temporal activities: the only code of a workflow that reads the database or the network.

`lifecycle` applies transitions, `alerts` sends mail, `callback` calls repair endpoints. `messages`
are their inputs and outputs.
"""
