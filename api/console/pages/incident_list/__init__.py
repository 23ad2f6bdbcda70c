"""The list of incidents: its page, its export and saved views, and the neighbours of an event."""
