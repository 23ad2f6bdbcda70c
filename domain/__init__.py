"""The nouns and rules of the product, without I/O: receipts, results, incidents, projects, people.

`lifecycle` is the state machine of a receipt. `values` holds timestamps and text, `security` keys,
signatures and login backoff. This package imports the standard library alone.
"""
