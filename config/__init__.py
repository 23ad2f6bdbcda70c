"""Settings of the processes, read from the environment, and the setup of logging.

`settings` names every variable and its default; `fields` holds the types that refuse wrong values; `logging` formats log lines.
Only the entry points (`cli`, `api/main.py`, `worker/main.py`) import this package.
"""
