"""The tables as SQLModel classes, their mapping to domain values, and the triggers of the audit log."""
