"""Sources: what watches a payment provider, and the events that it sees there."""
