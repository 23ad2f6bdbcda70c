"""Everything that talks to Temporal: connection, client for receipt workflows, payloads, search attributes."""
