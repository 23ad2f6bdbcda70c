"""Counts of what happened to receipts, kept by a worker loop, and the silence of projects."""
