"""Settings of the processes, read from the environment, and the setup of logging.

- `settings` names every variable and its default.
- `fields` has the types that reject wrong values, `service_urls` those of URLs.
- `secret_files` reads secrets from files.
- `logging` formats log lines.

Only the entry points (`cli`, `api/main.py`, `worker/main.py`) import this package.
"""
