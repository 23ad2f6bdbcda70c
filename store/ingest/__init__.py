"""From a request to a durable receipt or result, many in one commit.

`group_commit` gathers requests, `connection` holds the connection, `batch` and `insert_receipts` write. `heartbeat` and
`outage_evidence` record that ingest could commit.
"""
