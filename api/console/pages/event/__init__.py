"""Pages behind an event: the calls of a repair, and the payload."""
