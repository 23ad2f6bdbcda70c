"""The operations on sources: their settings, a check of each, and what each saw."""
