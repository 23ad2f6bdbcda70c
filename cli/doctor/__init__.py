"""`makegood doctor`: checks the machine, the services and the store, and says how to fix each
finding.
"""
