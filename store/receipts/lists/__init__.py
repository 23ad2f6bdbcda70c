"""The lists of events and incidents: their pages, filters and searches, and the index of texts."""
