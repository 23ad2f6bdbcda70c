"""The HTTP process: ingest, REST, console and health endpoints. `app` routes, `composition` wires, `main` starts it."""
