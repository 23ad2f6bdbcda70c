"""Authentication of API keys, the rate limit of each project, and the actor for the audit log."""
