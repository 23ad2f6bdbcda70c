"""Tests of `store.receipts.triage`."""
