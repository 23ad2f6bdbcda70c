"""The activity that lists what happened at a payment provider, page by page."""
