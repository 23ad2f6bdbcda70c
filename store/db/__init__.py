"""Access to SQLite and PostgreSQL: connection pools, permits, transactions, paging and errors."""
