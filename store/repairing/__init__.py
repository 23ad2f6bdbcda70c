"""Bulk repairs and rules of automatic repair, over the repairs of `store.receipts`."""
