"""The audit log: appended here, verified as a chain of hashes."""
