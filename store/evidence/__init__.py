"""Evidence: the keys that sign it, the rows that it is made from, and the check of a file."""
