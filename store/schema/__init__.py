"""The tables as SQLModel classes, their mapping to domain types, and the audit log's triggers."""
