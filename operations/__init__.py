"""The application layer: what REST, the console and the command line do, once for all three.

An operation validates its input, runs one transaction, writes the audit log and returns the result. It knows nothing of HTTP.
"""
