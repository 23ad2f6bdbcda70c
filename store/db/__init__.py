"""Access to SQLite and PostgreSQL: connection pools, permits per project, transactions, paging, errors."""
