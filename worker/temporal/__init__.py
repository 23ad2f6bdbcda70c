"""The code that calls Temporal: connection, client for receipt workflows, payloads, attributes."""
