"""The overview of projects: what happened in 30 days, how long it took, and who is silent."""
