"""From a request to a durable receipt or result, with many requests in one commit.

- `group_commit` collects requests into batches and returns the responses.
- `connection` opens the raw transactions.
- `batch` and `insert_receipts` write the rows.
- `locked_names` remembers keys and receipts that another process has locked.
- `heartbeat`, `outcomes` and `outage_evidence` record that ingest could commit.
"""
