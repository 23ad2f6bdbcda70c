"""Who calls: API keys, the rate limit of each project, and the actor named in the audit log."""
