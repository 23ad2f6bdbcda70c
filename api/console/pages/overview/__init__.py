"""The overview: what happened today and in 30 days, how long it took, and what is open."""
