"""The HTTP process: ingest, REST, console and health endpoints.

`main` starts it, `composition` lists its dependencies, and `app` builds the application.
"""
