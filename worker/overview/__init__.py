"""The loops that count what happened to receipts, and that notice silent projects."""
