"""`makegood group`: its commands."""
